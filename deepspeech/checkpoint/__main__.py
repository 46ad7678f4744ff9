"""`python -m deepspeech.checkpoint export-v2`, as it was called in earlier versions."""

import sys

from deepspeech import log

if __name__ == "__main__":
    log.configure()
    log.error("use `deepspeech export-v2 MODEL OUT` or `python -m deepspeech export-v2 MODEL OUT`")
    sys.exit(2)
