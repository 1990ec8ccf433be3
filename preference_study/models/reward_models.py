"""Reward models for use: one model, or an ensemble whose members are LoRA adapters over one base."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preference_study.aggregates import AGGREGATE, MEMBERS, aggregate
from preference_study.artifacts import read_json, write_json
from preference_study.errors import BadModel
from preference_study.models.language_models import ADAPTER, Dtype, device, load_reward, new_reward_model, with_adapter
from preference_study.models.tokens import encode_pairs


class Ensemble(torch.nn.Module):
    """Members' rewards, each minus its mean on some training responses: a reward model's origin is arbitrary.

    Args:
        models: a model a member; or the same PEFT model each time, with an adapter of the member's name.
        means: the mean reward of each, by the member's name.
        summed_up: {by, spread_weight} as `aggregate` takes them; None keeps a column a member.
    """

    def __init__(self, models: dict[str, PreTrainedModel | PeftModel], means: dict[str, float], summed_up: dict | None):
        super().__init__()
        self.models = torch.nn.ModuleDict(models)
        self.means, self.summed_up = means, summed_up
        self.settings = {"means": means, "summed_up": summed_up}  # what its rewards depend on besides its weights
        first = next(iter(models.values()))
        self.config, self.device = first.config, first.device

    @property
    def packs(self) -> bool:
        """Whether `pack_rows` has changed every model that it is made of."""
        return all(getattr(part, "packs", False) for part in parts(self))

    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        """Logits of [responses, 1], or of [responses, members] where nothing sums them up."""
        columns = []
        for name, model in self.models.items():
            if isinstance(model, PeftModel):
                model.set_adapter(name)
            columns.append(model(**inputs).logits.squeeze(-1).float() - self.means[name])
        rewards = torch.stack(columns, dim=-1)
        if self.summed_up is None:
            return SimpleNamespace(logits=rewards)
        summed = aggregate(rewards.detach().cpu().numpy(), **self.summed_up)
        return SimpleNamespace(logits=torch.from_numpy(summed)[:, None])


def load_judge(
    base: str | Path, folder: str | Path, summed_up: dict | None = None, dtype: Dtype = None
) -> PreTrainedModel | Ensemble:
    """A trained reward model of any variant for use.

    Args:
        base: the model its adapters belong to.
        folder: with the model, or with an ensemble's members.
        summed_up: how an ensemble's members are summed up; None takes what the folder says, and where it says nothing gives
            a column a member.

    Raises:
        BadModel: as `load_reward`; or members of the ensemble are missing.
    """
    folder = Path(folder)
    if not (folder / MEMBERS).exists():
        return load_reward(base, folder, dtype)
    if summed_up is None and (folder / AGGREGATE).exists():
        summed_up = read_json(folder / AGGREGATE)
    means = {member["folder"]: member["mean_reward"] for member in read_json(folder / MEMBERS)}
    for name in means:
        if not list((folder / name).glob("*.safetensors")):
            raise BadModel(f"{folder}: no safetensors weights of {name}; train the ensemble again")
    first, *others = means
    if not (folder / first / ADAPTER).exists():
        models = {name: load_reward(base, folder / name, dtype) for name in means}
    else:
        model = with_adapter(new_reward_model(base, 0, dtype), folder / first, first)
        for name in others:
            model = with_adapter(model, folder / name, name)
        models = dict.fromkeys(means, model.to(device()).eval())
    return Ensemble(models, means, summed_up)


def parts(judge: PreTrainedModel | Ensemble) -> list[PreTrainedModel]:
    """The models that a judge is made of: itself, or an ensemble's, of which members that are adapters share one."""
    models = judge.models.values() if isinstance(judge, Ensemble) else [judge]
    bare = [model.get_base_model() if isinstance(model, PeftModel) else model for model in models]
    return list({id(model): model for model in bare}.values())


def encode_responses(
    tokenizer: PreTrainedTokenizerBase, responses: pd.DataFrame, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """Responses, columns prompt and response, as the tokens that a reward model scores, written and shortened as in training; and
    of each whether it or its prompt was shortened."""
    pairs = encode_pairs(tokenizer, responses.assign(chosen=responses["response"], rejected=responses["response"]), max_length)
    return [pair.prompt_ids + pair.chosen_ids for pair in pairs], [pair.truncated for pair in pairs]


def drop_bias_only(folder: str | Path) -> None:
    """Take the bias-only expert out of a trained model's folder: only the main expert scores (Shen et al. 2023)."""
    folder = Path(folder)
    for file in folder.glob("*.safetensors"):
        kept = {name: weight for name, weight in load_file(file).items() if ".bias_only." not in f".{name}"}
        save_file(kept, file, metadata={"format": "pt"})
    if (folder / ADAPTER).exists():
        configuration = read_json(folder / ADAPTER)
        write_json(folder / ADAPTER, configuration | {"modules_to_save": ["score"]})
