from steper.gold.comparison import country_clause, date_clause, parse_date


def test_dates_in_words():
    assert parse_date("June 9, 1956") == (1956, 6, 9)
    assert parse_date("24 August 1886") == (1886, 8, 24)
    assert parse_date("March 1901") == (1901, 3, 0)
    assert parse_date("2012") == (2012, 0, 0)
    assert parse_date("spring") is None


def test_which_is_earlier():
    assert date_clause("1901", "May 1900", "Ann") == ", later than Ann"
    assert date_clause("4 May 1900", "5 May 1900", "Ann") == ", earlier than Ann"
    assert date_clause("1900", "May 1900", "Ann") == ""
    assert date_clause("spring", "1900", "Ann") == ""


def test_same_country_or_not():
    assert country_clause("yes", "country", False) == ", so the two are in the same country"
    assert country_clause("no", "country of citizenship", True) == (
        ", so the two directors are not from the same country"
    )
    assert country_clause("Oso", "country", False) == ""
