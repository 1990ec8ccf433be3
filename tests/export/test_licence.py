"""Which licence a base model is said to be under."""

import pytest

from preference_study.export.licence import licence_in, licence_of


@pytest.mark.parametrize(
    ("card", "wanted"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# Model", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: llama3.2\n---\n", "llama3.2"),
        ("---\nlicense: other\n---\n", None),
        ("---\ntags: [a]\n---\n", None),
        ("# license: mit", None),
        ("text\n---\nlicense: mit\n---\n", None),
        ("---\nlicense: [mit, bsd]\n---\n", None),
        ("---\nlicense: 'mit\n\n# A heading'\n---\n", None),
        ("---\nlicense: {a: : b\n---\n", None),
        ("---\n- a\n---\n", None),
    ],
)
def test_of_a_card(card, wanted):
    assert licence_in(card) == wanted


def test_of_a_folder_of_the_embedded_model_and_of_none(tmp_path):
    assert licence_of(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_of(str(tmp_path)) == "mit"
    assert licence_of("embedded") == "apache-2.0"
    assert licence_of("nobody/has-this-model") is None
