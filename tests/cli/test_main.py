"""How the command line ends."""

from steper.cli.main import run


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("steper.evaluation.scoring.score_run", interrupted)
    assert run(["eval", str(tmp_path)]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
