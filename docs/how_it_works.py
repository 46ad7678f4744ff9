# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How it works
#
# Speech goes in as a few thousand numbers a second and comes out as text. This notebook walks the whole
# way, stage by stage, with the package's own classes. Every chapter draws one picture, and then asserts in
# numbers what the picture shows: if the code changes its mind, the chapter fails.
#
# It makes its own speech with espeak-ng (the extra `synthetic`), trains a small network on it for less than
# a minute, and uses that network from chapter 14 on. Set the environment variable `DEEPSPEECH_AUDIO` to a
# recording of yours, and the first chapters show that one.

# %%
import itertools
import os
import tempfile
from pathlib import Path

import Levenshtein
import librosa
import matplotlib.pyplot as plt
import numpy as np
import soundfile
import torch
from torch.nn.functional import ctc_loss

import deepspeech
from data.synthetic import DIGITS, Line, make_corpus
from deepspeech.audio.config import FeatureConfig

ROOT = Path(deepspeech.__file__).parents[1]
plt.style.use(ROOT / "deepspeech" / "figures.mplstyle")
torch.manual_seed(0)
torch.set_num_threads(min(2, torch.get_num_threads()))  # OMP_NUM_THREADS may ask for fewer
folder = Path(tempfile.mkdtemp(prefix="how_it_works_"))


def show(name: str) -> None:
    """Show the current figure; save it as well where the variable DEEPSPEECH_FIGURES names a folder."""
    if target := os.environ.get("DEEPSPEECH_FIGURES"):
        Path(target).mkdir(parents=True, exist_ok=True)
        plt.savefig(Path(target, f"{name}.png"))
    plt.show()
    plt.close()


# %% [markdown]
# The corpus: six voices that say two to four digits. Speed, pitch and pauses differ from utterance to
# utterance; the validation set has other sentences.

# %%
VOICES = "en-us+f3", "en-gb-x-rp+m3", "en-us+m7", "en+f2", "en-gb-scotland+m1", "en-us+Andy"


def lines(split: str, count: int, seed: int) -> list[Line]:
    """Random sentences for the voices in turn."""
    random = np.random.default_rng(seed)
    return [
        Line(
            name=f"{split}_{number:03}",
            voice=VOICES[number % len(VOICES)],
            text=" ".join(random.choice(DIGITS, size=random.integers(2, 5))),
            speed=int(random.integers(140, 190)),  # words a minute
            pitch=int(random.integers(30, 70)),
            pause=int(random.integers(1, 9)),
            level=-26.0,  # dB
            noise=-35.0,
            seed=number,
        )
        for number in range(count)
    ]


make_corpus(folder, {"train": lines("train", 240, seed=0), "val": lines("val", 48, seed=1)})
print((folder / "train_manifest.csv").read_text().splitlines()[0])

# %% [markdown]
# ## 1. A recording
#
# A microphone measures the pressure of the air many thousand times a second. Each measurement is a
# *sample*, the number of samples a second is the *sample rate*. From afar we see words and pauses; from
# near, the vocal folds open and close: vowels are periodic, and the period is the pitch of the voice.

# %%
recording = os.environ.get("DEEPSPEECH_AUDIO", folder / "wav" / "val_007.wav")
rate = 16000
waveform = deepspeech.load_audio(recording, rate)  # (samples,) float32, full scale is 1

loudest = int(np.abs(waveform).argmax())
start = min(max(loudest - 400, 0), max(len(waveform) - 800, 0))
near = waveform[start : start + 800]

figure, (far_axes, near_axes) = plt.subplots(2, 1, figsize=(10, 4.5))
(line,) = far_axes.plot(np.arange(len(waveform)) / rate, waveform, linewidth=0.5)
far_axes.axvspan(start / rate, (start + len(near)) / rate, color="C1", alpha=0.3)
far_axes.set(title=f"{len(waveform):,} samples at {rate:,} Hz", xlabel="seconds", ylabel="pressure")
near_axes.plot(1000 * (start + np.arange(len(near))) / rate, near, ".-", color="C1", markersize=3)
near_axes.set(title="50 ms of it, sample by sample", xlabel="milliseconds", ylabel="pressure")
show("01_recording")

# %%
assert waveform.dtype == np.float32
assert np.abs(waveform).max() <= 1
assert np.allclose(line.get_xdata()[-1] + 1 / rate, soundfile.info(recording).duration, atol=0.01)

# %% [markdown]
# ## 2. Resampling
#
# A model knows one sample rate; recordings have others. To halve the rate one cannot simply take every
# second sample: a tone of 6 kHz then comes back as one of 2 kHz, because at 8,000 samples a second both
# give the same numbers (*aliasing*). `load_audio` filters before it takes samples.

# %%
seconds = np.arange(2 * rate) / rate
tones = 0.3 * np.sin(2 * np.pi * 1000 * seconds) + 0.3 * np.sin(2 * np.pi * 6000 * seconds)
soundfile.write(folder / "tones.wav", tones, rate)
versions = {
    "16 kHz": (tones, rate),
    "every second sample": (tones[::2], rate // 2),
    "load_audio(..., 8000)": (deepspeech.load_audio(folder / "tones.wav", 8000), 8000),
}


def spectrum(samples: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and levels in dB."""
    level = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) / len(samples)
    return np.fft.rfftfreq(len(samples), 1 / sample_rate), 20 * np.log10(level + 1e-6)


figure, axes = plt.subplots(1, 3, figsize=(10, 3), sharex=True, sharey=True)
level_at_2000 = {}
for panel, (title, (samples, sample_rate)) in zip(axes, versions.items(), strict=True):
    frequencies, levels = spectrum(samples, sample_rate)
    panel.plot(frequencies / 1000, levels)
    panel.set(title=title, xlabel="kHz", ylim=(-120, 0))
    level_at_2000[title] = levels[np.abs(frequencies - 2000).argmin()]
axes[0].set(ylabel="dB")
show("02_resampling")

# %%
assert level_at_2000["every second sample"] > -30  # a tone that nobody played
assert level_at_2000["load_audio(..., 8000)"] < -90

# %% [markdown]
# ## 3. From samples to features
#
# Which frequencies sound when? Cut the samples into overlapping windows of 20 ms, one every 10 ms; fade
# each in and out, so that its ends make no click; take the Fourier transform; keep the magnitudes and drop
# the phases; take log(1 + x), as the ear hears ratios; and subtract the mean of the utterance and divide by
# its standard deviation, so that loud and quiet recordings look alike. The columns of the result are
# *frames*.

# %%
config = FeatureConfig()  # windows of 20 ms every 10 ms at 16 kHz
spectrogram = deepspeech.Spectrogram(config)
features, frame_counts = spectrogram(torch.from_numpy(waveform)[None])  # (batch, bins, frames)

frame = loudest // config.stride_samples
middle = frame * config.stride_samples
cut = np.pad(waveform, config.window_samples)[middle + config.window_samples // 2 :][: config.window_samples]
tapered = cut * spectrogram.taper.numpy()
magnitudes = np.abs(np.fft.rfft(tapered))

figure, axes = plt.subplot_mosaic("ab;cc", figsize=(10, 5.5))
axes["a"].plot(cut, alpha=0.5, label="samples")
axes["a"].plot(tapered, label="with the Hamming window")
axes["a"].set(title=f"Window {frame}", xlabel="samples")
axes["a"].legend()
axes["b"].plot(np.linspace(0, rate / 2000, config.bins), np.log1p(magnitudes))
axes["b"].set(title="log(1 + magnitude) of its transform", xlabel="kHz")
extent = 0, features.shape[2] * config.window_stride, 0, rate / 2000
image = axes["c"].imshow(features[0].numpy(), extent=extent, vmin=-1, vmax=5)
axes["c"].axvline(middle / rate, color="white", linewidth=0.8)
axes["c"].set(title="All windows, normalised: what the network sees", xlabel="seconds", ylabel="kHz")
axes["c"].grid(False)
figure.colorbar(image, label="deviations from the mean")
show("03_features")

# %%
reference = np.log1p(
    np.abs(
        librosa.stft(
            waveform,
            n_fft=config.window_samples,
            hop_length=config.stride_samples,
            window="hamming",
            pad_mode="constant",
        )
    )
)
reference = (reference - reference.mean()) / reference.std(ddof=1)
assert np.allclose(features[0].numpy(), reference, atol=1e-3)  # librosa agrees
raw = spectrogram.log_magnitude(torch.from_numpy(waveform)[None])[0, :, frame]
assert np.allclose(raw.numpy(), np.log1p(magnitudes), atol=1e-4)  # and so does the drawn window

# %% [markdown]
# ## 4. The same words, said otherwise: tempo and gain
#
# Training data never holds all voices. *Augmentation* makes more of what there is: faster or slower without
# another pitch (WSOLA: pieces of the recording are joined where they fit best), louder or quieter.

# %%
from deepspeech.audio.augment import decibels, limit
from deepspeech.audio.tempo import change_tempo


def pitch(samples: np.ndarray) -> float:
    """The median pitch in Hz."""
    pitches, voiced, _ = librosa.pyin(samples, fmin=60, fmax=400, sr=rate)
    return float(np.nanmedian(pitches[voiced]))


variants = {
    "as recorded": waveform,
    "tempo 0.85": change_tempo(waveform, 0.85, rate),
    "tempo 1.15": change_tempo(waveform, 1.15, rate),
    "gain -6 dB": limit(waveform * decibels(-6)),
}
pitches = {title: pitch(samples) for title, samples in variants.items()}

figure, axes = plt.subplots(4, 1, figsize=(10, 5.5), sharex=True, sharey=True)
for panel, (title, samples) in zip(axes, variants.items(), strict=True):
    panel.plot(np.arange(len(samples)) / rate, samples, linewidth=0.5)
    panel.set(title=f"{title}: {len(samples) / rate:.2f} s, {pitches[title]:.0f} Hz")
axes[-1].set(xlabel="seconds")
show("04_tempo_and_gain")

# %%
for factor in (0.85, 1.15):
    changed = variants[f"tempo {factor}"]
    assert abs(len(changed) * factor - len(waveform)) <= 1
    assert abs(pitches[f"tempo {factor}"] / pitches["as recorded"] - 1) < 0.05
assert np.isclose(np.std(variants["gain -6 dB"]) / np.std(waveform), 0.501, atol=0.001)

# %% [markdown]
# ## 5. Noise, and parts of the picture missing
#
# Noise is mixed in at a chosen ratio of amplitudes. SpecAugment (Park et al., 2019) hides bands of
# frequency and spans of time of the finished features: the network has to guess them from the rest, and
# cannot rely on one detail of a voice.

# %%
from deepspeech.audio.augment import add_noise
from deepspeech.audio.spec_augment import POLICIES, spec_augment

random = np.random.default_rng(5)
noise = random.normal(size=len(waveform)).astype(np.float32)
noisy = add_noise(waveform, noise, level=0.3)
masked = spec_augment(features[0], POLICIES["SM"], random)  # (bins, frames)

figure, axes = plt.subplots(3, 1, figsize=(10, 6.5), sharex=True)
noisy_features = spectrogram(torch.from_numpy(noisy)[None])[0][0]
pictures = {"clean": features[0], "noise at 0.3 of the amplitude": noisy_features, "SpecAugment SM": masked}
for panel, (title, values) in zip(axes, pictures.items(), strict=True):
    panel.imshow(values.numpy(), extent=extent, vmin=-1, vmax=5)
    panel.set(title=title, ylabel="kHz")
    panel.grid(False)
axes[-1].set(xlabel="seconds")
show("05_noise_and_masks")

# %%
assert np.isclose(np.std(noisy - waveform) / np.sqrt(np.mean(waveform**2)), 0.3, atol=0.01)
assert (masked == 0).all(dim=0).any() or (masked == 0).all(dim=1).any()  # whole columns or rows are gone
assert masked.shape == features[0].shape

# %% [markdown]
# ## 6. What is to be learned: a manifest, and characters as numbers
#
# A manifest is a CSV that names an audio file and a transcript in each row. The alphabet is a list of
# characters; the first stands for *blank*, of which more in chapter 12. A target is the list of the
# characters' positions: nobody says when in the recording each of them sounds.

# %%
from deepspeech.data.corpus import load_corpus
from deepspeech.labels import DEFAULT_PATH

labels = deepspeech.Labels.load(DEFAULT_PATH)
corpus = load_corpus(folder / "train_manifest.csv", labels)
training_set = deepspeech.SpectrogramDataset(corpus, labels)
sample = training_set[100]
text = training_set.reference(100)

figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 4.5))
top.imshow(sample.features.numpy(), extent=(0, sample.duration, 0, rate / 2000), vmin=-1, vmax=5)
top.set(title="Input", xlabel="seconds", ylabel="kHz")
top.grid(False)
bottom.bar(range(len(text)), sample.target.numpy(), color="C2")
bottom.set_xticks(range(len(text)), ["␣" if each == " " else each for each in text], family="DejaVu Sans")
bottom.set(title="Target: the position of each character among the labels", ylabel="label")
show("06_targets")

# %%
assert labels.decode(sample.target.tolist()) == text
assert labels.encode("ONE TWO") == [labels.index(character) for character in "ONE TWO"]
assert len(training_set) == 240

# %% [markdown]
# ## 7. Why batches hold utterances of like length
#
# Utterances run through the network together, and the short ones are padded to the longest. In random
# batches much of the work is padding. Sorted by length, hardly any is; shuffling then permutes the batches,
# and neighbours of almost equal length. The first epoch goes from short to long (SortaGrad): short
# utterances are easier to align.

# %%
durations = np.asarray(corpus.durations)
sampler = deepspeech.BucketingSampler(durations, batch_size=8)
sampler.set_epoch(1)  # the second epoch, which is shuffled
bucketed = list(sampler)
shuffled = [each.tolist() for each in np.split(np.random.default_rng(0).permutation(240), 30)]


def padding(batches: list[list[int]]) -> float:
    """The share of padding in the work."""
    work = sum(len(batch) * durations[batch].max() for batch in batches)
    return float(1 - durations.sum() / work)


figure, axes = plt.subplots(1, 2, figsize=(10, 5), sharey=True)
for panel, (title, batches) in zip(axes, {"random": shuffled, "bucketed": bucketed}.items(), strict=True):
    row = 0
    for batch in batches[:10]:
        longest = durations[batch].max()
        rows = np.arange(row, row + len(batch))
        panel.barh(rows, longest, height=1, color="C1", alpha=0.4)
        panel.barh(rows, durations[batch], height=1, color="C0")
        row += len(batch) + 2
    panel.set(title=f"{title}: {100 * padding(batches):.0f} % padding", xlabel="seconds", yticks=[])
    panel.grid(False)
show("07_buckets")

# %%
assert sorted(itertools.chain(*bucketed)) == list(range(240))  # every utterance once
assert padding(bucketed) < padding(shuffled) / 3

# %% [markdown]
# ## 8. A batch, and the masks that make padding invisible
#
# Padding must not change the result. Wherever a layer looks beyond the end of an utterance it has to see
# zeros, and statistics count valid frames only. Then an utterance gives the same output alone as in the
# company of longer ones.

# %%
from deepspeech.data.batch import collate
from deepspeech.model.config import ModelConfig

order = np.argsort(durations)
batch = collate([training_set[int(index)] for index in order[[0, 80, 160, 239]]])
untrained = deepspeech.DeepSpeech(
    ModelConfig(rnn_type="gru", hidden_size=64, hidden_layers=2, labels=labels.characters, features=config)
).eval()
with torch.inference_mode():
    together, lengths = untrained(batch.features, batch.lengths)
    alone, _ = untrained(batch.features[:1, :, : batch.lengths[0]], batch.lengths[:1])

figure, axes = plt.subplots(4, 1, figsize=(10, 5.5), sharex=True)
for panel, values, length in zip(axes, batch.features, batch.lengths, strict=True):
    panel.imshow(values.numpy(), vmin=-1, vmax=5)
    panel.axvspan(length.item() - 0.5, batch.features.shape[2] - 0.5, color="0.85")
    panel.set(yticks=[], ylabel=f"{length} frames")
    panel.grid(False)
axes[0].set(title=f"A batch of 4 utterances: padded to {batch.features.shape[2]} frames")
axes[-1].set(xlabel="frames")
show("08_masks")

# %%
assert (batch.features[0, :, batch.lengths[0] :] == 0).all()
assert torch.allclose(together[0, : lengths[0]], alone[0], atol=1e-5)

# %% [markdown]
# ## 9. Convolutions
#
# Two convolutions slide over time and frequency, like the first layers of a network for images. The first
# takes every second frame: from here on a frame stands for 20 ms. What can one frame of their output see?
# Ask for the gradient with respect to the input: it is zero where nothing is seen.

# %%
from deepspeech.model.config import CONV_TIME

inputs = torch.rand(1, config.bins, 120, requires_grad=True)
output, _, _ = untrained.conv(inputs, torch.tensor([120]), (None, None), True)  # (1, channels, bins, frames)
seen_by = 30
output[0, :, :, seen_by].sum().backward()
seen = inputs.grad[0].abs()
frames = seen.sum(0).nonzero().flatten()

figure, axes = plt.subplots(figsize=(10, 3))
axes.imshow((seen + 1e-9).log10().clamp(min=-4).numpy())
axes.axvline(2 * seen_by, color="white", linewidth=0.8)
title = f"Output frame {seen_by} sees the {len(frames)} input frames {frames[0]} to {frames[-1]}"
axes.set(title=title, xlabel="input frames", ylabel="bins")
axes.grid(False)
show("09_convolutions")

# %%
first, second = CONV_TIME
reach = second.size // 2 * first.stride + first.size // 2  # input frames on either side
assert frames.tolist() == list(range(2 * seen_by - reach, 2 * seen_by + reach + 1))
assert output.shape[3] == untrained.output_lengths(120)

# %% [markdown]
# ## 10. Recurrent layers
#
# A recurrent cell reads the frames one by one and carries a state from each to the next: what it writes may
# depend on everything before. A second cell reads backwards, and the outputs of both are summed. Change one
# frame of the input, and see how far the change is felt.

# %%
from deepspeech.model.padding import Frames
from deepspeech.model.rnn import RecurrentLayer

torch.manual_seed(1)
inputs = torch.randn(60, 2, 8)  # (frames, batch, size)
valid = Frames(torch.tensor([60, 40]), 60)
inputs = valid.clear(inputs)
changed = inputs.clone()
changed[20, 0] += 1

figure, axes = plt.subplots(figsize=(10, 3))
felt = {}
for title, bidirectional in {"forward only": False, "both directions": True}.items():
    layer = RecurrentLayer("gru", 8, 32, bidirectional, batch_norm=False)
    with torch.inference_mode():
        felt[title] = (layer(changed, valid)[0] - layer(inputs, valid)[0])[:, 0].norm(dim=1)
    axes.semilogy(felt[title].clamp(min=1e-8), ".-", label=title)
axes.set(title="Frame 20 of the input changes: by how much does the output?", xlabel="frames")
axes.legend()
show("10_recurrent")

# %%
assert (felt["forward only"][:20] == 0).all()  # nothing changes before the cause
assert (felt["both directions"][:20] > 0).all()
packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor([60, 40]))
with torch.inference_mode():
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(layer.rnn(packed)[0])
    expected = outputs[..., :32] + outputs[..., 32:]
    assert torch.allclose(layer(inputs, valid)[0], expected, atol=1e-5)  # torch's own packed sequences agree

# %% [markdown]
# ## 11. Looking ahead a little
#
# Both directions need the end of the utterance. To write while somebody still speaks, a network may only
# read forward. Some future helps a lot, though: the *lookahead* layer (Wang et al., 2016) lets a frame see
# a few frames ahead, and costs exactly that delay.

# %%
from deepspeech.model.deepspeech2 import Lookahead

figure, axes = plt.subplots(figsize=(10, 3))
ahead = {}
for context in (1, 8, 20):
    layer = Lookahead(4, context)
    inputs = torch.rand(60, 1, 4, requires_grad=True)
    with torch.no_grad():
        layer.conv.weight.uniform_(0.5, 1)
    layer(inputs, torch.tensor([60]), None, True)[0][20].sum().backward()
    influence = inputs.grad[:, 0].abs().sum(1)
    ahead[context] = int(influence.nonzero().max()) - 20
    axes.step(range(60), influence, where="mid", label=f"context {context}")
axes.set(title="What frame 20 of the lookahead layer sees", xlabel="frames", ylabel="gradient")
axes.legend()
show("11_lookahead")

# %%
assert ahead == {1: 0, 8: 7, 20: 19}

# %% [markdown]
# ## 12. CTC: learning without knowing when
#
# The network gives each frame a probability for each label. A *path* chooses one label per frame. Its text
# is what remains when repeated labels are merged and then blanks left out: `_AAB`, `A_BB` and `_A_B` all
# read `AB`. The probability of a text is the sum over all of its paths (Graves et al., 2006), and training
# raises it.
#
# With 4 frames and 3 labels there are 81 paths: few enough to try them all.

# %%
ALPHABET = "_AB"


def collapse(path: tuple[int, ...]) -> str:
    """The text of a path."""
    return "".join(ALPHABET[label] for label, _ in itertools.groupby(path)).replace("_", "")


torch.manual_seed(3)
scores = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
log_probs = scores.log_softmax(1)
probs = log_probs.detach().exp().numpy()
paths = {
    path: float(np.prod([probs[frame, label] for frame, label in enumerate(path)]))
    for path in itertools.product(range(3), repeat=4)
}
of_ab = {path: probability for path, probability in paths.items() if collapse(path) == "AB"}
print({"".join(ALPHABET[label] for label in path): round(value, 4) for path, value in of_ab.items()})

# %% [markdown]
# Their number grows exponentially, so the sum is organised: all paths of `AB` run through a *lattice* of
# the states `_ A _ B _`, staying or moving one state on (or two, past a blank between different letters).
# The *forward variable* of a state at a frame is the probability of all that lead there. Drawn beside it:
# the gradient, which is what the network predicts minus what the paths of the right text use.

# %%
states = [0, 1, 0, 2, 0]  # blank, A, blank, B, blank
forward = np.zeros((4, 5))
forward[0, :2] = probs[0, states[:2]]
for frame in range(1, 4):
    for state, label in enumerate(states):
        sources = [state, state - 1] + [state - 2] * (
            label != 0 and state >= 2 and label != states[state - 2]
        )
        forward[frame, state] = probs[frame, label] * sum(
            forward[frame - 1, source] for source in sources if source >= 0
        )

target, target_size = torch.tensor([[1, 2]]), torch.tensor([2])
loss = ctc_loss(log_probs[:, None], target, torch.tensor([4]), target_size, reduction="sum")
(gradient,) = torch.autograd.grad(loss, scores)
used = np.zeros((4, 3))  # the share of each label among the paths of AB, frame by frame
for path, probability in of_ab.items():
    for frame, label in enumerate(path):
        used[frame, label] += probability / sum(of_ab.values())

figure, (lattice, panel) = plt.subplots(1, 2, figsize=(10, 3.5))
for path in of_ab:
    state, places = (1 if path[0] else 0), []
    for frame, label in enumerate(path):
        while states[state] != label or (frame and label == 0 and path[frame - 1] != 0 and state % 2):
            state += 1
        places.append(state)
    lattice.plot(range(4), places, color="gray", linewidth=0.8, alpha=0.6)
for (frame, state), value in np.ndenumerate(forward):
    if value:
        lattice.scatter(frame, state, s=60 + 1500 * value, color="C0", zorder=3)
        lattice.annotate(f"{value:.3f}", (frame, state), xytext=(10, 9), textcoords="offset points")
lattice.set(
    title="Forward variables of AB", xlabel="frame", xticks=range(4), xlim=(-0.3, 3.7), ylim=(4.6, -0.7)
)
lattice.set_yticks(range(5), [ALPHABET[label] for label in states])
image = panel.imshow(gradient.T.numpy(), cmap="RdBu_r", vmin=-1, vmax=1, origin="upper")
panel.set(title="Gradient: predicted minus used", xlabel="frame", xticks=range(4))
panel.set_yticks(range(3), ALPHABET)
panel.grid(False)
figure.colorbar(image)
show("12_ctc")

# %%
total = sum(of_ab.values())
assert np.isclose(total, np.exp(-loss.item()))  # torch's loss is the sum over all paths,
assert np.isclose(total, forward[3, 3] + forward[3, 4])  # and so are the forward variables at the end
assert np.allclose(gradient.numpy(), probs - used)

# %% [markdown]
# Why do trained networks write a letter in a single frame and blank everywhere else? Give each frame free
# scores, all equal at first, and follow the gradient for the text `AB` in 30 frames. Blanks are part of
# most paths, so their probability rises everywhere; what stays are two narrow peaks. That is also why
# training starts with a time of nothing but blanks.

# %%
free = torch.zeros(30, 3, requires_grad=True)
descent, snapshots = torch.optim.SGD([free], lr=1.0), {}
for step in range(401):
    if step in (0, 10, 60, 400):
        snapshots[step] = free.detach().softmax(1)
    loss = ctc_loss(free.log_softmax(1)[:, None], target, torch.tensor([30]), target_size)
    descent.zero_grad()
    loss.backward()
    descent.step()

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), sharey=True)
for panel, (step, shares) in zip(axes, snapshots.items(), strict=True):
    for label, name in enumerate(("blank", "A", "B")):
        panel.plot(shares[:, label], label=name)
    panel.set(title=f"after {step} steps", xlabel="frame", ylim=(0, 1))
axes[0].set(ylabel="probability")
axes[0].legend()
show("12_peaks")

# %%
blanks = {step: shares[:, 0].mean().item() for step, shares in snapshots.items()}
assert blanks[0] < blanks[10] < blanks[60]  # blanks take over

# %% [markdown]
# ## 13. One training step
#
# Forward pass, loss, backward pass; shorten the gradient if it is longer than allowed; move the weights a
# little against it. Nesterov's momentum keeps a running sum of the gradients and steps along it. Here is
# the step written out, and then the trainer's.

# %%
import copy

from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep

options = TrainingConfig(
    learning_rate=3e-4, momentum=0.9, weight_decay=1e-5, max_norm=400.0, precision="fp32"
)
by_hand, trained = (copy.deepcopy(untrained).train() for _ in range(2))

log_probs, frames = by_hand(batch.features, batch.lengths)
losses = ctc_loss(log_probs.transpose(0, 1), batch.targets, frames, batch.target_lengths, reduction="none")
losses.mean().backward()
norms = {name: weights.grad.norm() for name, weights in by_hand.named_parameters()}
scale = min(1.0, options.max_norm / torch.stack([*norms.values()]).norm().item())
with torch.no_grad():
    for weights in by_hand.parameters():
        direction = scale * weights.grad + options.weight_decay * weights
        weights -= options.learning_rate * (direction + options.momentum * direction)

step = TrainStep(trained, options)
step.prepare()
step_loss = step.backward(batch, utterances=len(batch)).item()
step.update(options.learning_rate)

figure, axes = plt.subplots(figsize=(10, 4.5))
axes.barh(list(norms), [norm.item() for norm in norms.values()])
axes.set(title="Length of the gradient, tensor by tensor", xscale="log")
axes.tick_params(axis="y", labelsize=7)
axes.invert_yaxis()
show("13_training_step")

# %%
assert np.isclose(step_loss, losses.sum().item(), rtol=1e-5)
for ours, theirs in zip(by_hand.parameters(), trained.parameters(), strict=True):
    assert torch.allclose(ours, theirs, atol=1e-6)

# %% [markdown]
# ## 14. A training run of a minute
#
# The same command that trains on a thousand hours, with a small network: two layers of 128 GRU cells that
# only read forward, at 8 kHz. After the first epoch the words are blurred, after the fourth most of them
# are right.

# %%
from deepspeech.commands import train
from deepspeech.training.history import TABLE

arguments = """
    --sample-rate 8000 --window-size 0.032 --window-stride 0.02 --normalize running
    --rnn-type gru --hidden-size 128 --hidden-layers 2 --no-bidirectional --lookahead-context 8
    --batch-size 8 --adam --lr 3e-3 --schedule cosine --warmup-epochs 0.5 --epochs 5 --num-workers 0
"""
arguments += f" --train-manifest {folder}/train_manifest.csv --val-manifest {folder}/val_manifest.csv"
assert train.main([*arguments.split(), "--save-folder", str(folder)]) == 0

table = np.genfromtxt(folder / TABLE, delimiter=",", names=True)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
for name in ("train_loss", "val_loss"):
    left.plot(table["epoch"], table[name], "o-", label=name.replace("_", " "))
for name in ("wer", "cer"):
    right.plot(table["epoch"], 100 * table[name], "o-", label=name.upper())
left.set(title="CTC loss per utterance", xlabel="epoch", yscale="log", xticks=table["epoch"])
right.set(title="Errors on the validation set, %", xlabel="epoch", ylim=(0, None), xticks=table["epoch"])
left.legend()
right.legend()
show("14_training_run")

# %%
assert table["train_loss"][-1] < table["train_loss"][0] / 10
assert table["wer"][-1] < 0.25

# %% [markdown]
# ## 15. Greedy decoding
#
# The network's output, frame by frame: blanks, and peaks where it is sure of a letter. Greedy decoding
# takes the best label of each frame and collapses the path.

# %%
recognizer = deepspeech.Recognizer.load(folder / "deepspeech_final.pth")
model = recognizer.model
spoken = deepspeech.load_audio(folder / "wav" / "val_007.wav", model.config.features.sample_rate)
log_probs, lengths = recognizer.log_probs([spoken])  # (batch, frames, labels)
(hypotheses,) = deepspeech.GreedyDecoder(model.labels).decode(log_probs, lengths)
heard = hypotheses[0]

probabilities = log_probs[0].exp().numpy()
used = sorted(set(probabilities.argmax(1)) - {model.labels.blank})
times = np.arange(len(probabilities)) * model.frame_seconds
figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 4.5), sharex=True)
top.plot(np.arange(len(spoken)) / model.config.features.sample_rate, spoken, linewidth=0.5)
top.set(title=f"Heard: {heard.text}", ylabel="pressure")
bottom.plot(times, probabilities[:, model.labels.blank], color="0.7", label="blank")
bottom.plot(times, probabilities[:, used])
for character, offset in zip(heard.text, heard.offsets, strict=True):
    mark = "␣" if character == " " else character
    bottom.annotate(mark, (times[offset], 1.02), ha="center", family="DejaVu Sans", annotation_clip=False)
bottom.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.15))
bottom.legend(loc="center right")
show("15_greedy")

# %%
path = [label for label, _ in itertools.groupby(probabilities.argmax(1)) if label != model.labels.blank]
assert model.labels.decode(path) == heard.text
assert all(probabilities[offset].argmax() != model.labels.blank for offset in heard.offsets)

# %% [markdown]
# ## 16. Beam search
#
# The best path need not have the best text. In two frames with probability 0.6 for blank and 0.4 for `A`
# the best path is all blank (0.36), yet three paths read `A`, and have 0.64 together. Beam search keeps the
# best *prefixes* of texts with the sum of their paths, and extends them frame by frame.
#
# A language model can then overrule the ear. Below, the sound says `FOR` somewhat more clearly than `FOUR`;
# a model that only knows digits turns the decision. Drawn are the prefixes that the sound alone keeps,
# frame by frame; the text that the language model makes win stands out.

# %%
from deepspeech.beam_search.config import DecoderConfig

toy = deepspeech.Labels(list("_A"))
two_frames = np.log(np.array([[0.6, 0.4], [0.6, 0.4]], np.float32))
best = deepspeech.BeamCTCDecoder(toy).decode_one(two_frames)[0]

letters = deepspeech.Labels(list("_FORUE "))
chances = {"F": 0.9}, {"O": 0.9}, {"U": 0.38, "_": 0.6}, {"R": 0.9}, {"E": 0.1, "_": 0.88}
matrix = np.full((len(chances), len(letters)), 0.004)
for frame, row in enumerate(chances):
    for character, probability in row.items():
        matrix[frame, letters.index(character)] = probability
clear = np.log(matrix / matrix.sum(1, keepdims=True)).astype(np.float32)

(folder / "digits.arpa").write_text(
    "\\data\\\nngram 1=5\n\n\\1-grams:\n-1.0\t</s>\n-99\t<s>\n-4.0\t<unk>\n-1.0\tFOUR\n-3.0\tFOR\n\n\\end\\\n"
)
plain = DecoderConfig(decoder="beam", top_paths=6, beam_width=8)
lm_path = str(folder / "digits.arpa")
with_model = DecoderConfig(decoder="beam", beam_width=8, lm_path=lm_path, alpha=0.8, beta=0.0)
winner = deepspeech.BeamCTCDecoder(letters, with_model).decode_one(clear)[0].text
by_ear = deepspeech.BeamCTCDecoder(letters, plain)
without = by_ear.decode_one(clear)[0].text

tree = [  # for every frame: prefixes and their log-probabilities
    {each.text: each.acoustic_score for each in by_ear.decode_one(clear[:end])}
    for end in range(1, len(clear) + 1)
]
height = {text: place for place, text in enumerate(sorted({text for column in tree for text in column}))}
figure, axes = plt.subplots(figsize=(10, 4.5))
for frame, column in enumerate(tree):
    for text, score in column.items():
        colour = "C1" if text == winner else "C0"
        axes.scatter(frame, height[text], s=30 + 900 * np.exp(score), color=colour, zorder=3)
        axes.annotate(text or "(empty)", (frame, height[text]), xytext=(9, 7), textcoords="offset points")
        for parent in tree[frame - 1] if frame else ():
            if text.startswith(parent) and len(text) <= len(parent) + 1:
                axes.plot([frame - 1, frame], [height[parent], height[text]], color="gray", linewidth=0.8)
axes.set_xticks(range(len(clear)), [f"frame {frame}" for frame in range(len(clear))])
axes.set(title=f"The best prefixes. Best text: {without}; with the language model: {winner}", yticks=[])
axes.margins(0.1)
axes.grid(False)
show("16_beam_search")

# %%
assert best.text == "A"
assert np.isclose(best.acoustic_score, np.log(0.64), atol=1e-4)
assert (without, winner) == ("FOR", "FOUR")

# %% [markdown]
# ## 17. When each word was said, and how sure that is
#
# CTC tells where two words part: at the frame of the space. The pause there is looked up in the audio, and
# gives the end of one word and the start of the next. The confidence of a word comes from the sum over all
# alignments of its letters.

# %%
transcript = recognizer.transcripts(spoken)[0]
figure, axes = plt.subplots(figsize=(10, 3))
axes.plot(np.arange(len(spoken)) / model.config.features.sample_rate, spoken, color="0.6", linewidth=0.5)
peak = float(np.abs(spoken).max())
for place, word in enumerate(transcript.words):
    axes.axvspan(word.start, word.end, color=f"C{place}", alpha=0.25)
    middle = (word.start + word.end) / 2
    label = f"{word.text}\n{100 * word.confidence:.0f} %"
    axes.annotate(label, (middle, 1.05 * peak), ha="center", va="bottom")
axes.set(title="Words with their confidence", xlabel="seconds", ylim=(-1.1 * peak, 1.6 * peak), yticks=[])
show("17_words")

# %%
assert " ".join(word.text for word in transcript.words) == transcript.hypothesis.text
assert all(0 <= word.confidence <= 1 and word.start < word.end for word in transcript.words)
assert all(before.end <= after.start for before, after in itertools.pairwise(transcript.words))

# %% [markdown]
# ## 18. Streaming
#
# The network of chapter 14 only reads forward, and its features are normalised by what has been heard so
# far. So it can write while somebody speaks: every layer keeps the inputs that it still needs, and the text
# is the one that the whole recording gives. The delay is what the layers look ahead.

# %%
stream = recognizer.stream()
chunk = int(0.05 * stream.sample_rate)
written = []  # for every character: when it was spoken, and when it was written
for begin in range(0, len(spoken), chunk):
    partial = stream.feed(spoken[begin : begin + chunk])
    written += [stream.seconds] * (len(partial.text) - len(written))
end = stream.seconds
final = stream.finish()
written += [end] * (len(final.text) - len(written))
said = [offset * model.frame_seconds for offset in final.offsets]

figure, axes = plt.subplots(figsize=(10, 3.5))
axes.step(said, range(1, len(said) + 1), where="post", label="the network's frame")
axes.step(written, range(1, len(said) + 1), where="post", label="written")
for place, character in enumerate(final.text):
    axes.annotate(character, (said[place], place + 1), xytext=(-10, 0), textcoords="offset points")
title = f"A delay of {model.latency:.2f} s, and up to a chunk of 0.05 s"
axes.set(title=title, xlabel="seconds", ylabel="characters")
axes.legend()
show("18_streaming")

# %%
assert final.text == recognizer.transcribe(spoken).text
delays = [late - early for early, late in zip(said, written, strict=True) if late < end]
assert all(0 < delay <= model.latency + 0.05 + 1e-6 for delay in delays)

# %% [markdown]
# ## 19. Counting errors
#
# The word error rate compares the transcript with what was really said, word by word: the fewest
# substitutions, deletions and insertions that make one out of the other, divided by the number of words
# that were said. It can exceed 100 %. Rates of a corpus come from added counts, never from averaged rates.

# %%
reference, hypothesis = "ONE TWO THREE FOUR FIVE", "ONE THREE FREE FOUR FIVE SIX"
columns = []  # (reference word, hypothesis word, colour)
for operation, first, last, begin, stop in Levenshtein.opcodes(reference.split(), hypothesis.split()):
    pairs = itertools.zip_longest(reference.split()[first:last], hypothesis.split()[begin:stop], fillvalue="")
    colour = {"equal": "#DDEFE8", "replace": "#F7D9C4", "delete": "#CFE3F2", "insert": "#F3DDEA"}[operation]
    columns += [(*pair, colour) for pair in pairs]

counts = deepspeech.word_errors(reference, hypothesis)
figure, axes = plt.subplots(figsize=(10, 1.6))
cells = [[column[0] for column in columns], [column[1] for column in columns]]
colours = [[column[2] for column in columns]] * 2
drawn = axes.table(cells, cellColours=colours, rowLabels=["said", "heard"], loc="center", cellLoc="center")
drawn.scale(1, 1.8)
axes.set_title(str(counts))
axes.axis("off")
show("19_errors")

# %%
assert (counts.substitutions, counts.deletions, counts.insertions, counts.length) == (2, 0, 1, 5)
assert np.isclose(counts.rate, 3 / 5)

# %% [markdown]
# ## Where to go from here
#
# - `docs/architecture.md` names the files behind each chapter.
# - `docs/training.md` trains on real speech, `docs/streaming.md` listens to a microphone.
# - `docs/extending.md` adds an option, an augmentation, a decoder.
