import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.texts.style import style

TEXT = """# A title
Some **bold** words, and __more__ of them.
### A heading
1. One
2. **Two**
- three
  * four
+ five
```
# no heading
- no item
**no bold**
```
#nothing, 1.5 metres, 2 * 3 * 4, -1
"""


def test_each_mark_is_counted_as_the_arena_counts_it():
    assert style(TEXT) == {"headings": 2, "list_items": 5, "bold": 3}
    assert style("") == {"headings": 0, "list_items": 0, "bold": 0}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("###### six", (1, 0, 0)),
        ("####### seven", (0, 0, 0)),
        ("1) no item of theirs", (0, 0, 0)),
        ("10. an item", (0, 1, 0)),
        ("**two\nlines**", (0, 0, 0)),
        ("**** and ____", (0, 0, 0)),
        ("**a** **b** __c__", (0, 0, 3)),
        ("* **a**", (0, 1, 1)),
    ],
)
def test_what_is_a_mark_and_what_is_not(line, wanted):
    assert tuple(style(line).values()) == wanted


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
def test_what_is_put_in_is_counted(headings, items, bold):
    text = "\n".join(["## h"] * headings + ["- i"] * items + ["say **b** now"] * bold)
    assert style(text) == {"headings": headings, "list_items": items, "bold": bold}
