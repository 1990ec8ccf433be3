"""Every method's name, as a list for `dvc exp run -S`: python -m preference_study.methods"""

from preference_study.methods import METHODS

print(f"[{','.join(METHODS)}]")
