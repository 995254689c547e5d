"""lm-eval's own command line, which then knows the model `synthdiv`.

python -m synthdiv.evaluation run --model synthdiv --model_args checkpoint=DIR --tasks hellaswag
"""

from lm_eval.__main__ import cli_evaluate

from synthdiv.evaluation import harness  # noqa: F401  importing it registers the model

if __name__ == "__main__":
    cli_evaluate()
