#!/bin/sh
# Subtitles of a recording by a running server: examples/serve_curl.sh recording.wav MODEL http://localhost:8000
exec curl --fail-with-body --silent --show-error --form "file=@$1" --form "model=$2" --form response_format=srt \
    "${3:-http://localhost:8000}/v1/audio/transcriptions"
