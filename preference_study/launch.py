"""Start a stage that runs a model, in as many processes as `launch` in params.yaml asks for.

    python -m preference_study.launch train_reward standard

One process: the stage itself. Several: torchrun, or, where launch.accelerate_config is set, accelerate launch with that
configuration. On several machines run the same command on each, over a shared folder, with torchrun's or accelerate's
environment variables (MASTER_ADDR, MASTER_PORT, NODE_RANK) set.
"""

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import stages
from preference_study.beforehand import check_launch, check_sizes
from preference_study.boundary import REMEDY, by_signal
from preference_study.methods import METHODS
from preference_study.params import Launch, load_params
from preference_study.variants import VARIANTS

# glibc gives every large tensor back to the system when it is freed and takes it anew, page by page, in the next step. Kept, in
# large pages, the memory makes training on a CPU faster: benchmarks/allocator.py. Other systems ignore the variable.
# PyTorch and oneDNN each keep the code of the last 1024 matrix products in bfloat16, one a shape, half a megabyte apiece and
# scattered, so that memory grows by gigabytes: batches differ in length, and their shapes hardly come again. A step has
# some thirty.
ALLOCATOR = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000"
    ":glibc.malloc.top_pad=67108864",
    "LRU_CACHE_CAPACITY": "64",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}


def command(launch: Launch, stage: str, arguments: list[str], environment: dict[str, str]) -> list[str]:
    """The command that runs the stage in `launch.processes` processes over `launch.machines` machines."""
    module = ["-m", f"stages.{stage}", *arguments]
    together = [sys.executable, "-m", "preference_study.together"]
    if launch.accelerate_config:
        options = ["--config_file", launch.accelerate_config, "--num_processes", str(launch.processes)]
        options += ["--num_machines", str(launch.machines), "--machine_rank", environment.get("NODE_RANK", "0")]
        if launch.machines > 1:
            options += ["--main_process_ip", environment["MASTER_ADDR"]]
            options += ["--main_process_port", environment.get("MASTER_PORT", "29500")]
        return [*together, "accelerate.commands.launch", *options, *module]
    if launch.processes == 1:
        return [sys.executable, *module]
    options = ["--nproc_per_node", str(launch.processes // launch.machines)]
    if launch.machines == 1:
        options.append("--standalone")
    else:
        options += ["--nnodes", str(launch.machines), "--node_rank", environment.get("NODE_RANK", "0")]
        options += ["--master_addr", environment["MASTER_ADDR"], "--master_port", environment.get("MASTER_PORT", "29500")]
    return [*together, "torch.distributed.run", *options, *module]


def by_vllm(stage: str, engine: str) -> bool:
    """Whether vLLM is what shares a stage's work out, over as many GPUs as generate.vllm says."""
    return engine == "vllm" and stage in ("generate", "sample_responses")


def of_stage(launch: Launch, stage: str, engine: str) -> Launch:
    """How a stage starts: as `launch` says, but in one process where vLLM shares its work out."""
    return Launch(processes=1, machines=1, accelerate_config=None) if by_vllm(stage, engine) else launch


def one_gpu(launch: Launch, environment: dict[str, str]) -> dict[str, str]:
    """What makes a stage of one process see one GPU: transformers would give each of several a batch of its own."""
    if launch.processes > 1 or launch.accelerate_config:
        return {}
    return {"CUDA_VISIBLE_DEVICES": environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        raise SystemExit(__doc__)
    stage = sys.argv[1]
    there = sorted(module.name for module in pkgutil.iter_modules(stages.__path__))
    if stage not in there:
        raise SystemExit(f"there is no stage {stage!r}; there are {', '.join(there)}")
    of_a_variant = dict.fromkeys(("stress_reward", "score_samples", "score_benchmarks"), VARIANTS)
    known = (of_a_variant | {"generate": ("base", *METHODS)}).get(stage)
    if known and sys.argv[2:] and sys.argv[2] not in known:
        raise SystemExit(f"{sys.argv[2]!r} is none of those there are: {', '.join(known)}")
    params = load_params()
    check_launch(params.launch, dict(os.environ))
    config = Path("models/base/config.json")
    if config.is_file():
        check_sizes(params, json.loads(config.read_text()))
    launch = of_stage(params.launch, stage, params.generate.engine)
    if launch.machines < params.launch.machines and os.environ.get("NODE_RANK", "0") != "0":
        print(f"{stage}: the first machine does this alone")
        return
    arguments = command(launch, stage, sys.argv[2:], dict(os.environ))
    # The libraries warn each other of names that go away in later releases than the pinned ones.
    environment = ALLOCATOR | os.environ | {"PYTHONWARNINGS": "ignore::FutureWarning"}
    if not by_vllm(stage, params.generate.engine):
        environment |= one_gpu(launch, environment)
    status = subprocess.run(arguments, check=False, env=environment).returncode
    raise SystemExit(f"stage {' '.join(sys.argv[1:])} {by_signal(-status)}. {REMEDY}" if status < 0 else status)


if __name__ == "__main__":
    main()
