"""How likely both tokens were where two answers part, by the model's own probabilities."""

import pytest
import torch

from preference_study.export.partings import parting_gaps
from preference_study.models.language_models import load_causal


def test_the_gap_is_that_of_both_tokens_after_what_both_say(model_folder):
    model = load_causal(model_folder, dtype=torch.float32)
    prompts = [[2, 9, 3], [2, 3], [2, 8, 3]]
    one, other = [[20, 21, 22], [23], [24, 25]], [[20, 30, 31], [23], [26]]
    found = parting_gaps(model, prompts, one, other, max_batch=4, max_padded=99, description="t")
    wanted = []
    for context, a, b in (([2, 9, 3, 20], 21, 30), ([2, 8, 3], 24, 26)):
        logps = model(input_ids=torch.tensor([context])).logits[0, -1].log_softmax(-1)
        wanted.append((logps[a] - logps[b]).item())
    assert found == pytest.approx(wanted, abs=1e-5) and min(map(abs, wanted)) > 1e-3
    assert parting_gaps(model, prompts, one, one, max_batch=4, max_padded=99, description="t") == []
