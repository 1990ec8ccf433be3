"""A policy as other programs load it -> models/export/policy/<method>, and how it compares with the study's own.

python -m stages.export_policy dpo

The folder is there only where what it holds was loaded with transformers alone and answers as the study's policy does.
"""

from datetime import datetime
from pathlib import Path

import pandas as pd

from preference_study.analysis.parity import beyond, policy_parity
from preference_study.artifacts import read_dicts, read_json, whole_folder, write_json
from preference_study.boundary import run
from preference_study.errors import BadInput, BadModel
from preference_study.export.card import policy_card
from preference_study.export.folders import sizes, write_policy
from preference_study.export.licence import licence_of
from preference_study.export.llama_cpp import modelfile, not_written, write_gguf
from preference_study.export.partings import parting_gaps
from preference_study.export.plain import PlainPolicy
from preference_study.methods import METHODS, display_name
from preference_study.models.generation import respond
from preference_study.models.language_models import for_generating, load_causal, load_tokenizer, token_logps
from preference_study.models.tokens import names_special
from preference_study.params import Params, load_params
from preference_study.report.origin import origin


def parity(params: Params, name: str, folder: Path) -> dict:
    """An exported folder against the study's own policy, on the first of the prompts that the study answered whole.

    Raises:
        BadModel: they differ beyond the bounds.
        BadInput: every prompt had to be shortened.
    """
    settings = params.generate
    tokenizer = load_tokenizer("models/base")
    # Only the study shortens a prompt that is longer than the model reads, and reads the names of special tokens as letters.
    whole = [
        row
        for row in read_dicts("data/responses/generated/base.parquet")
        if not row["prompt_truncated"] and not names_special(tokenizer, [turn["content"] for turn in row["prompt"]])
    ]
    if not whole:
        raise BadInput(
            f"{settings.prompts}: every prompt is longer than the model reads beside generate.max_new_tokens "
            f"{settings.max_new_tokens}, or names a special token, so nothing can be compared with the exported policy: lower "
            "that, or take other prompts"
        )
    asked = pd.DataFrame(whole[: params.export.prompts])
    prompts = list(asked["prompt"])
    own = for_generating(load_causal("models/base", f"models/policy/{name}"))
    found = respond(
        own, tokenizer, prompts, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size,
        seed=params.seed, description=f"{name}, the study's own",
    )  # fmt: skip
    answers = [answer for [answer] in found]
    written = [answer.prompt_ids for answer in answers], [answer.ids for answer in answers]
    scoring = params.scoring.model_dump() | {"description": "log-probabilities"}
    own_logps = token_logps(own, *written, **scoring)
    del own
    exported = PlainPolicy(folder)
    of_folder = exported.answers(prompts, settings.max_new_tokens, settings.batch_size)
    compared = policy_parity(
        written[0], exported.prompt_ids(prompts), written[1], of_folder,
        own_logps, token_logps(exported.model, *written, **scoring),
        parting_gaps(exported.model, *written, of_folder, **scoring), list(asked["cluster"]),
    )  # fmt: skip
    if wrong := beyond(compared):
        raise BadModel(
            f"{name}: the exported policy is not the study's own: {'; '.join(wrong)}; nothing was exported. Run dvc repro "
            "--force on the stages that make models/base and the policy, or report it"
        )
    return compared


def main(name: str) -> None:
    params = load_params()
    settings = params.generate
    target = Path("models/export/policy") / name
    tokenizer, model = load_tokenizer("models/base"), load_causal("models/base", f"models/policy/{name}")
    with whole_folder(target) as made:
        write_policy(made, model, tokenizer, settings.temperature, settings.top_p)
        del model
        compared = parity(params, name, made)
        licence = licence_of(params.model.name, params.model.revision)
        reason, files = not_written(made) if params.export.gguf else "export.gguf is false", []
        if reason is None:
            files = [f"{name}.gguf", "Modelfile"]
            write_gguf(made, made / files[0], f"{name} policy", licence)
            ends = PlainPolicy(made).ends()
            (made / files[1]).write_text(
                modelfile(files[0], tokenizer, ends, settings.temperature, settings.top_p, licence), encoding="utf-8"
            )
        else:
            print(f"{name}: no GGUF file: {reason}")
        data = {"training pairs": params.data.train, "validation pairs": params.data.val, "prompts": settings.prompts}
        model = {"name": params.model.name, "revision": params.model.revision}
        own = {f"policy.{name}.{key}": value for key, value in params.policy.own(name).model_dump().items()}
        card = policy_card(
            method=name, display=display_name(name), model=model, licence=licence,
            run_of=origin(Path(), data, params.seed, datetime.now().astimezone()),
            data=read_json("metrics/data.json"),
            parameters={f"policy.{key}": value for key, value in params.policy.shared().items() if key != "save_steps"} | own,
            trained=read_json(f"metrics/train_policy/{name}.json"), policies=read_json("metrics/policies.json"),
            judge=params.reward.judge, reward=read_json("metrics/reward.json"), limit=settings.max_new_tokens,
            parity=compared, files=files,
        )  # fmt: skip
        (made / "README.md").write_text(card, encoding="utf-8")
    write_json(f"metrics/export/policy/{name}.json", compared | {"licence": licence, "no_gguf": reason, "bytes": sizes(target)})


if __name__ == "__main__":
    run(main, METHODS)
