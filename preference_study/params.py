"""The schema of params.yaml: every parameter, its type and its range.

python -m preference_study.params           says what is wrong with params.yaml, where something is
python -m preference_study.params FILE      the same of another file
"""

import argparse
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, Field, ValidationError, create_model, model_validator

from preference_study.aggregates import AGGREGATES
from preference_study.benchmarks import SHAPES
from preference_study.errors import BadParams
from preference_study.export import not_exported
from preference_study.methods import METHODS
from preference_study.sections import Columns, Count, Limit, MethodSection, Positive, Section, Training, Vllm
from preference_study.variants import VARIANTS

AggregateName = Literal[tuple(AGGREGATES)]
MethodName = Literal[tuple(METHODS)]
VariantName = Literal[tuple(VARIANTS)]
ShapeName = Literal[tuple(SHAPES)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def _each_once(names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is there twice; name each once")
    return names


MethodNames = Annotated[list[MethodName], AfterValidator(_each_once)]
VariantNames = Annotated[list[VariantName], AfterValidator(_each_once)]


class HubSource(Section):
    """A split of the hub; `file` is the parquet file that it becomes."""

    name: str
    config: str | None = None
    split: str
    revision: str | None = None
    file: Annotated[str, Field(pattern=r"\.parquet$")]


class Data(Section):
    train: str
    val: str
    max_train: Limit
    max_val: Limit
    seed: Seed
    hub: list[HubSource]
    columns: Columns | None
    ranks: tuple[int, int]
    cluster: str | None
    near_duplicate: Annotated[float, Field(ge=0.5, le=1)]
    drop_near_duplicates: bool

    @model_validator(mode="after")
    def the_better_rank_is_chosen(self):
        chosen, rejected = self.ranks
        if chosen < 1 or not (rejected == -1 or rejected > chosen):
            raise ValueError(f"ranks {list(self.ranks)}: a rank from 1, the best, then a lower one or -1, the last")
        return self


class Model(Section):
    name: str
    revision: str | None
    watched: str
    system_prompt: str | None
    chat_template: str | None
    template_arguments: dict[str, bool | int | Annotated[float, Field(allow_inf_nan=False)] | str | None]
    date: Annotated[str, AfterValidator(lambda day: str(date.fromisoformat(day)))]

    @model_validator(mode="after")
    def folders_are_watched(self):
        if Path(self.name).is_dir() and Path(self.name) != Path(self.watched):
            raise ValueError(f"name {self.name!r} is a folder: write it under model.watched too, so that new weights are noticed")
        return self


class Aggregation(Section):
    by: AggregateName
    spread_weight: Annotated[float, Field(ge=0)]


class RewardTraining(Training):
    """The reward section but for the variants' own: each has one of its name."""

    learning_rate: Positive
    variants: Annotated[VariantNames, Field(min_length=1)]
    judge: VariantName
    head: Literal["probe", "random"]
    flipped: Annotated[float, Field(ge=0, lt=0.5)]
    aggregate: Aggregation

    @model_validator(mode="after")
    def judge_is_trained(self):
        if self.judge not in self.variants:
            raise ValueError(f"judge {self.judge!r} is not one of reward.variants {self.variants}")
        return self

    def own(self, variant: str) -> Section:
        """The parameters of one variant."""
        return getattr(self, variant)


class PolicyTraining(Training):
    """The policy section but for the methods' own: each has one of its name."""

    methods: Annotated[MethodNames, Field(min_length=1)]
    max_train: Limit

    @model_validator(mode="after")
    def methods_go_with_the_section(self):
        for method in self.methods:
            METHODS[method].check(self, self.own(method))
        return self

    def own(self, method: str) -> MethodSection:
        """The parameters of one method."""
        return getattr(self, method)

    def shared(self) -> dict:
        """The parameters that every method has."""
        return self.model_dump(exclude={"methods", *METHODS})


Reward = create_model("Reward", __base__=RewardTraining, **{name: variant.section for name, variant in VARIANTS.items()})
Policy = create_model("Policy", __base__=PolicyTraining, **{name: method.section for name, method in METHODS.items()})


class Generate(Section):
    prompts: str
    max_prompts: Limit
    category: str | None
    kl_prompts: Annotated[int, Field(ge=0)] | None
    max_new_tokens: Count
    batch_size: Count
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    engine: Literal["transformers", "vllm"]
    vllm: Vllm


class Scoring(Section):
    max_batch: Count
    max_padded: Count


class Frozen(Section):
    max_gib: Annotated[float, Field(ge=0)]


class Stress(Section):
    variants: VariantNames
    max_pairs: Annotated[int, Field(ge=0)] | None


class BestOfN(Section):
    variants: VariantNames
    max_prompts: Limit
    samples: Literal[2, 4, 8, 16, 32, 64]
    temperature: Positive


class BenchmarkFile(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    file: str
    shape: ShapeName | None = None


class People(Section):
    methods: MethodNames
    cases: Count
    which: Literal["random", "disagreement"]
    repeats: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def repeats_are_a_third_at_most(self):
        if 3 * self.repeats > self.cases:
            raise ValueError(f"repeats {self.repeats} of {self.cases} cases: a third of them, {self.cases // 3}, at most")
        return self


class Export(Section):
    policies: MethodNames
    reward_models: VariantNames
    gguf: bool
    prompts: Count

    @model_validator(mode="after")
    def they_can_be_exported(self):
        if reasons := [reason for variant in self.reward_models if (reason := not_exported(variant))]:
            raise ValueError(f"reward_models: {'; '.join(reasons)}")
        return self


JudgeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
JUDGES_FOLDER = "judges"  # that `dvc repro` watches


def _watched(path: str) -> str:
    """A path that stands in the folder that `dvc repro` watches."""
    if Path(path).parts[:1] != (JUDGES_FOLDER,) or ".." in Path(path).parts:
        raise ValueError(f"{path!r} is outside of {JUDGES_FOLDER}/, where dvc repro looks for what has changed: put it there")
    return path


def _no_folder_elsewhere(name: str) -> str:
    return _watched(name) if name != "base" and Path(name).is_dir() else name


class Judge(Section):
    name: JudgeName


class OtherModel(Judge):
    """A judge that is a model of its own: a hub name, or a folder under judges/."""

    model: Annotated[str, AfterValidator(_no_folder_elsewhere)]
    revision: str | None = None
    template_arguments: dict[str, bool | int | Annotated[float, Field(allow_inf_nan=False)] | str | None] = Field({})
    max_length: Annotated[int, Field(ge=8)] = 4096


class RewardModelJudge(OtherModel):
    kind: Literal["reward_model"]
    until: Literal["template", "eos"] = "template"


class CrossFittedJudge(Judge):
    kind: Literal["cross_fitted"]
    unseen: Literal["pairs", "prompts"] = "pairs"


class Pairwise(Section):
    """What judges that are asked which of two responses is better have in common."""

    template: Annotated[str, AfterValidator(_watched)] = f"{JUDGES_FOLDER}/pairwise.txt"
    max_prompts: Limit = None
    max_pairs: Limit = None


class LanguageModelJudge(OtherModel, Pairwise):
    kind: Literal["language_model"]


def _no_secret(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address: it begins with https:// or http:// and mostly ends in /v1")
    if "@" in parts.netloc or parts.query:
        raise ValueError("base_url holds a name, a password or a query: a key comes from the environment, by the parameter key")
    return url


class EndpointJudge(Judge, Pairwise):
    kind: Literal["endpoint"]
    base_url: Annotated[str, AfterValidator(_no_secret)]
    model: str
    key: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None
    max_requests: Limit
    max_tokens: Limit = None
    answer_tokens: Count = 8
    logprobs: bool = False
    retries: Annotated[int, Field(ge=0)] = 5
    timeout: Positive = 120.0
    parallel: Count = 1


AnyJudge = Annotated[RewardModelJudge | CrossFittedJudge | LanguageModelJudge | EndpointJudge, Field(discriminator="kind")]


class SmallestDifference(Section):
    win_rate: Annotated[float, Field(gt=0, lt=0.5)]
    gold_rate: Annotated[float, Field(gt=0, lt=1)]


class Verdict(Section):
    smallest_difference: SmallestDifference


class Report(Section):
    max_cases: Count


class Launch(Section):
    processes: Count
    machines: Count
    accelerate_config: str | None

    @property
    def spread(self) -> bool:
        """Whether the model, or the processes that run it, are in several places."""
        return self.machines > 1 or self.accelerate_config is not None


class Params(Section):
    """All of params.yaml; see the comments there."""

    seed: Seed
    data: Data
    model: Model
    reward: Reward
    policy: Policy
    generate: Generate
    stress: Stress
    best_of_n: BestOfN
    benchmarks: list[BenchmarkFile]
    judges: list[AnyJudge]
    people: People
    export: Export
    verdict: Verdict
    report: Report
    scoring: Scoring
    frozen: Frozen
    launch: Launch

    @model_validator(mode="after")
    def measured_variants_are_trained(self):
        for name, section in (("stress", self.stress), ("best_of_n", self.best_of_n)):
            if missing := set(section.variants) - set(self.reward.variants):
                raise ValueError(f"{name}.variants: {', '.join(sorted(missing))} not in reward.variants {self.reward.variants}")
        return self

    @model_validator(mode="after")
    def judged_methods_are_trained(self):
        if missing := set(self.people.methods) - set(self.policy.methods):
            raise ValueError(f"people.methods: {', '.join(sorted(missing))} not in policy.methods {self.policy.methods}")
        return self

    @model_validator(mode="after")
    def exported_models_are_trained(self):
        for what, named, there in (
            ("policies", self.export.policies, ("policy.methods", self.policy.methods)),
            ("reward_models", self.export.reward_models, ("reward.variants", self.reward.variants)),
        ):
            if missing := set(named) - set(there[1]):
                raise ValueError(f"export.{what}: {', '.join(sorted(missing))} not in {there[0]} {there[1]}")
        return self

    @model_validator(mode="after")
    def benchmarks_have_names_of_their_own(self):
        _each_once([benchmark.name for benchmark in self.benchmarks])
        return self

    @model_validator(mode="after")
    def judges_have_names_and_pairs_of_their_own(self):
        _each_once([judge.name for judge in self.judges])
        if taken := {judge.name for judge in self.judges} & set(self.reward.variants):
            raise ValueError(f"judges: {', '.join(sorted(taken))} is a reward model of reward.variants; name the judge otherwise")
        if self.policy.max_train is None and any(judge.kind == "cross_fitted" for judge in self.judges):
            raise ValueError("judges: a cross_fitted one needs pairs that policies do not see; set policy.max_train to a number")
        return self

    @model_validator(mode="after")
    def batches_divide(self):
        sections = {"reward": self.reward, "policy": self.policy}
        sections |= {f"policy.{method}": self.policy.own(method) for method in self.policy.methods}
        for name, section in sections.items():
            if getattr(section, "batch_size", 0) % self.launch.processes:
                raise ValueError(
                    f"{name}.batch_size {section.batch_size} cannot be shared by launch.processes "
                    f"{self.launch.processes}: make it a multiple"
                )
        return self


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error, where the first would be lost without a word."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep=deep) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        BadParams: there is no such file, or none that is text in UTF-8; or as `checked_params`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadParams(f"{path}: there is no such file in {Path.cwd()}; run this in the study's folder") from None
    except UnicodeDecodeError:
        raise BadParams(f"{path} is not UTF-8; save it so") from None
    return checked_params(text, str(path))


def checked_params(text: str, source: str) -> Params:
    """The parameters in a text, checked; `source` is what an error calls it.

    Raises:
        BadParams: a parameter is missing, unknown or out of range; the message names it, its value and what is allowed.
    """
    try:
        return Params.model_validate(read_yaml(text, source))
    except ValidationError as error:
        raise BadParams(f"{source} is not right; nothing was run:\n{what_is_wrong(error)}") from None


def what_is_wrong(error: ValidationError) -> str:
    """A line for each parameter that is not right: its name, what is allowed, and its value."""
    return "\n".join(
        f"  {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
        + ("" if e["type"] in ("missing", "value_error") else f", but it is {e['input']!r}")
        for e in error.errors()
    )


def read_yaml(text: str, source: str) -> Any:
    """What a text in YAML holds; raises `BadParams` where it is none, or names a key twice."""
    try:
        return yaml.load(text, UniqueKeys)
    except yaml.YAMLError as error:
        raise BadParams(f"{source} is not valid YAML; nothing was run: {error}") from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check a file of parameters; says nothing where all are right.")
    parser.add_argument("file", nargs="?", default="params.yaml", help="%(default)s unless named")
    load_params(parser.parse_args().file)
