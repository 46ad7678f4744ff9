"""Names what replaces `python -m deepspeech.checkpoint export-v2`."""

import sys

from deepspeech import log

if __name__ == "__main__":
    log.configure()
    log.error("use `deepspeech export-v2 MODEL OUT` or `python -m deepspeech export-v2 MODEL OUT`")
    sys.exit(2)
