"""The devices that JAX computes on, or a line that says why there are none."""

import os

import jax

from synthdiv.errors import UserError, first_line


def check_devices() -> None:
    """Starts JAX's devices.

    Raises:
        UserError: the kind that JAX_PLATFORMS asks for is not there.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a plugin is not installed
        asked = os.environ.get("JAX_PLATFORMS", "")
        why = "" if isinstance(error, AssertionError) else f" ({first_line(error)})"
        raise UserError(
            f"JAX_PLATFORMS={asked} asks for devices that are not here{why}: unset it, set it to "
            "cpu, or install what they need (synthdiv[cuda], synthdiv[tpu])"
        ) from error
