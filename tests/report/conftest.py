from functools import cache

import pytest

from preference_study.report import page


@pytest.fixture(scope="module", autouse=True)
def pictures_once():
    """Pages of the same example show the same pictures: each is made smaller once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "data_uri", cache(page.data_uri))
        yield
