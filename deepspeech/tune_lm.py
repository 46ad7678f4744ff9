"""Names what replaces `python -m deepspeech.tune_lm`."""

import sys

if __name__ == "__main__":
    print("python -m deepspeech.tune_lm is now: deepspeech tune-lm", file=sys.stderr)
    sys.exit(2)
