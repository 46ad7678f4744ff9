"""Speech synthesis by espeak-ng, in its voices and in random ones."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from deepspeech.errors import InputError

RANDOM_TIMBRES = tuple(f"random{number}" for number in range(450))


def random_timbre(rng: np.random.Generator) -> str:
    """A voice file of espeak-ng (see its docs/voices.md): a vocal tract of random size and shape."""

    def some(low: float, high: float, count: int = 1) -> str:
        return " ".join(f"{value:.0f}" for value in rng.uniform(low, high, count))

    def spread(low: float, high: float) -> float:
        """Uniform in its logarithm."""
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    size, pitch = spread(0.85, 1.5), spread(65, 300)  # Hz
    return "\n".join(
        (
            "language variant",
            f"pitch {pitch:.0f} {pitch * rng.uniform(1.15, 1.65):.0f}",
            f"flutter {some(0, 7)}",
            *(  # frequency, height and width in percent
                f"formant {number} {size * rng.uniform(90, 110):.0f} {spread(50, 200):.0f} {some(80, 160)}"
                for number in range(9)
            ),
            f"voicing {spread(20, 200):.0f}",
            f"consonants {some(30, 130, 2)}",
            f"tone 600 {some(60, 255)} 1200 {some(10, 200)} 2000 {some(10, 200)}",  # Hz, loudness
        )
    )


def link_data(folder: Path, timbre: str) -> None:
    """Make a folder of espeak-ng's data with one timbre: it supports at most 349 voices."""
    import espeakng_loader

    data, voice = Path(espeakng_loader.get_data_path()), Path("voices", "!v", timbre)
    (folder / voice).parent.mkdir(parents=True)
    for path in data.iterdir():
        if path.name != "voices":
            (folder / path.name).symlink_to(path)
    if timbre in RANDOM_TIMBRES:
        rng = np.random.default_rng(RANDOM_TIMBRES.index(timbre))
        (folder / voice).write_text(random_timbre(rng), encoding="utf-8")
    else:
        (folder / voice).symlink_to(data / voice)


class Synthesiser:
    """espeak-ng, loaded into this process; the interface is `espeak-ng/speak_lib.h`.

    Args:
        data: Folder made by `link_data`.

    Raises:
        InputError: The library cannot load its data.
    """

    SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1
    SPEED, PITCH, PAUSE = 1, 3, 7

    def __init__(self, data: Path) -> None:
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        path = str(data).encode()
        self.rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, path, self.DONT_EXIT)
        if self.rate <= 0:
            raise InputError(f"{data}: espeak-ng cannot read its data; install it into a shorter path")
        self.chunks: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self._receive)  # must live as long as the library may call it
        self.library.espeak_SetSynthCallback(self.callback)
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if samples and count:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # continue

    def speak(self, text: str, voice: str, speed: int, pitch: int, pause: int) -> np.ndarray:
        """The waveform (samples,) at `rate`, float32, full scale is 1.

        Raises:
            InputError: There is no such voice.
        """
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise InputError(f"{voice}: espeak-ng has no such voice; `pip install -U espeakng-loader`")
        self.library.espeak_SetParameter(self.SPEED, speed, 0)
        self.library.espeak_SetParameter(self.PITCH, pitch, 0)
        self.library.espeak_SetParameter(self.PAUSE, pause, 0)
        # "A" alone would be spoken as the article
        words = ["eh" if word == "A" else word.lower() for word in text.split()]
        data = " ".join(words).encode()
        self.chunks.clear()
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, self.UTF8, None, None)
        return np.concatenate(self.chunks).astype(np.float32) / 2**15
