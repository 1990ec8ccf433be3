"""How fast this machine is: matrix products, and reading its memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

ROWS = 1024  # tokens of a batch, about


@dataclass(frozen=True)
class Rate:
    """Operations or bytes a second, by the clock and by this process's own time on the processor.

    Where others use the machine too, the second is what it can do and the first is what it does.
    """

    by_clock: float
    by_processor: float


def matrix_rate(hidden: int, intermediate: int, dtype: torch.dtype, where: torch.device, wanted_seconds: float = 0.5) -> Rate:
    """The rate of the products that most of a layer is made of: [tokens, hidden] by [hidden, intermediate] and back."""
    states = torch.randn(ROWS, hidden, device=where).to(dtype)
    up, down = (torch.randn(*size, device=where).to(dtype) for size in ((intermediate, hidden), (hidden, intermediate)))

    def once() -> float:
        torch.nn.functional.linear(torch.nn.functional.linear(states, up), down)
        if where.type == "cuda":
            torch.cuda.synchronize()
        return 4.0 * ROWS * hidden * intermediate

    return _rate(once, wanted_seconds)


def read_rate(where: torch.device, wanted_seconds: float = 0.2) -> Rate:
    """Bytes a second that this machine reads of its memory, from an array that no cache holds."""
    numbers = torch.ones(64_000_000, device=where)

    def once() -> float:
        numbers.sum().item()
        return float(numbers.nbytes)

    return _rate(once, wanted_seconds)


def _rate(once: Callable[[], float], wanted_seconds: float) -> Rate:
    """What `once` says that it has done, by the second, after a first time that warms up."""
    once()
    done, clock, processor = 0.0, time.perf_counter(), time.process_time()
    while time.perf_counter() - clock < wanted_seconds:
        done += once()
    return Rate(done / (time.perf_counter() - clock), done / max(time.process_time() - processor, 1e-9))
