"""Every variant's name, as a list for `dvc exp run -S`: python -m preference_study.variants"""

from preference_study.variants import VARIANTS

print(f"[{','.join(VARIANTS)}]")
