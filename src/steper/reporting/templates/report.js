"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  const paint = (name) => {
    if (name === "auto") delete root.dataset.theme;
    else root.dataset.theme = name;
    theme.querySelector("span").textContent = name;
  };
  // A page opened from a file may have no storage: the choice is then forgotten.
  const stored = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("steper-theme");
      localStorage.setItem("steper-theme", value);
    } catch { /* no storage */ }
    return null;
  };
  const first = stored();
  paint(themes.includes(first) ? first : "auto");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const now = theme.querySelector("span").textContent;
    const next = themes[(themes.indexOf(now) + 1) % themes.length];
    paint(next);
    stored(next);
  });

  const bar = document.querySelector(".filters");
  const examples = [...document.querySelectorAll(".example")];
  if (bar) {
    bar.hidden = false;
    const says = bar.querySelector("output");
    const choices = [...bar.querySelectorAll("button[aria-pressed]")];
    const show = (button) => {
      for (const other of choices) other.setAttribute("aria-pressed", String(other === button));
      const { filter, type } = button.dataset;
      for (const one of examples) {
        one.hidden = type !== undefined ? one.dataset.type !== type
          : filter === "disagree" && one.dataset.verdict !== "disagree";
      }
      const shown = examples.filter((one) => !one.hidden).length;
      says.textContent = `${shown} of ${examples.length} shown`;
    };
    for (const button of choices) button.addEventListener("click", () => show(button));
    for (const button of bar.querySelectorAll("button[data-open]")) {
      button.addEventListener("click", () => {
        for (const one of examples) {
          if (!one.hidden) one.querySelector("details").open = button.dataset.open === "true";
        }
      });
    }
    show(choices[0]);
  }

  // Paper cannot be clicked: print every question and table, passages stay folded.
  const folded = ".example > details, details.numbers";
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll(folded)].filter((one) => !one.open);
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
})();
