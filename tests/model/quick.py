"""Compiles small functions in little time: these tests run each of them once."""

import functools

import jax

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
