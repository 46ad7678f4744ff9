"""Models in folders of the Hugging Face Hub: weights, configuration and a model card."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from deepspeech.atomic_file import write_atomic
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.model.integrity import check_config, check_tensors
from deepspeech.options import Options, option

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TASK = "automatic-speech-recognition"
TEMPLATE = Path(__file__).with_name("card.md")


@dataclass(frozen=True)
class CardConfig(Options):
    """Model card, with --to huggingface"""

    license: str | None = option(
        None, "licence of the model as the Hub names it: apache-2.0, cc-by-4.0, ...", metavar="ID"
    )
    language: tuple[str, ...] = option((), "languages, as ISO 639 codes", nargs="+", metavar="CODE")
    data: str | None = option(None, "what the model was trained on, in a sentence", metavar="TEXT")
    intended_use: str = option("Transcribing speech like that of its training data.", "what it is for")
    training: str = ""  # how long it was trained
    results: tuple[str, ...] = option(
        (), "word, perhaps also character error rates in percent", nargs="+", metavar="NAME=WER[/CER]"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rates()

    def rates(self) -> list[tuple[str, list[float]]]:
        """Names of test sets, each with its WER and perhaps CER in percent.

        Raises:
            InputError: A result cannot be parsed.
        """
        try:
            parts = [each.rpartition("=") for each in self.results]
            found = [(name.strip(), [float(rate) for rate in rates.split("/")]) for name, _, rates in parts]
            if all(name and len(rates) <= 2 and min(rates) >= 0 for name, rates in found):
                return found
        except ValueError:
            pass
        raise InputError(f"--results {' '.join(self.results)}: expected NAME=WER or NAME=WER/CER, in percent")


class HubModel(nn.Module):
    """A network that can be saved to, and loaded from, a folder as the Hugging Face Hub has them.

    The layout is that of huggingface_hub's `PyTorchModelHubMixin`. That class itself would be imported with
    every model, and accepts weights that are missing.
    """

    config: ModelConfig

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """Load a network, in eval mode on the CPU.

        Args:
            name: A folder of `save_pretrained`, or a repository on the Hub, as "user/model".
            options: For a repository, those of `huggingface_hub.snapshot_download`: `revision`, `token`, ...

        Raises:
            InputError: There is no such model, it is damaged, or a package is missing.
        """
        config, state_dict = read_folder(name if os.path.isdir(name) else download(str(name), **options))
        try:
            model = cls(config)
            model.load_state_dict(state_dict)
        except (InputError, RuntimeError) as error:
            raise InputError(f"{name}: damaged model: {_reason(error)}; take another one") from None
        return model.eval()

    def save_pretrained(self, folder: str | Path, card: CardConfig = CardConfig()) -> None:
        """Write weights, configuration and, unless there is one, a model card; creates the folder.

        Raises:
            InputError: The folder cannot be written, or a package is missing.
        """
        save = required("safetensors.torch").save
        state_dict = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        check_tensors(state_dict)
        target = Path(folder)
        text = model_card(target.resolve().name, self, card)
        config = json.dumps(self.config.to_dict(), ensure_ascii=False, indent=2)
        write_atomic(target / WEIGHTS, save(state_dict, metadata={"format": "pt"}))
        write_atomic(target / CONFIG, config.encode())
        if not (target / CARD).exists():
            write_atomic(target / CARD, text.encode())

    def push_to_hub(
        self,
        name: str,
        card: CardConfig = CardConfig(),
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """Create a repository, unless it exists, and upload weights, configuration and model card.

        Args:
            name: "user/model".
            card: What the model card says.
            private: Whether a new repository is private (default: as the account has it).
            token: Of the account (default: that of `hf auth login`).

        Returns:
            The URL of the commit.

        Raises:
            InputError: The Hub refuses, or cannot be reached.
        """
        hub = required("huggingface_hub")
        api = hub.HfApi(token=token)
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent, name.rpartition("/")[2])
            self.save_pretrained(folder, card)
            try:
                repository = api.create_repo(name, private=private, exist_ok=True).repo_id
                return str(api.upload_folder(repo_id=repository, folder_path=folder))
            except Exception as error:  # the Hub's client has many
                raise InputError(f"{name}: cannot upload: {_reason(error)}; try hf auth login") from None


def is_folder(path: str | Path) -> bool:
    """Whether a path is that of a folder with a model."""
    return any(os.path.isfile(os.path.join(path, name)) for name in (CONFIG, WEIGHTS))


def read_folder(folder: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration and the weights in a folder, checked.

    Raises:
        InputError: A file is missing or damaged, or they do not fit each other.
    """
    load = required("safetensors.torch").load_file
    for name in (CONFIG, WEIGHTS):
        if not os.path.isfile(os.path.join(folder, name)):
            raise InputError(f"{folder}: a folder without {name}; give a model, or a folder with one")
    try:
        config = ModelConfig.from_dict(json.loads(Path(folder, CONFIG).read_text(encoding="utf-8")))
        state_dict: dict[str, Tensor] = load(os.path.join(folder, WEIGHTS))
        check_tensors(state_dict)
        check_config(vars(config), state_dict)
        return config, state_dict
    except Exception as error:  # a damaged file may hold anything
        reason = f"it lacks {error}" if isinstance(error, KeyError) else _reason(error)
        raise InputError(f"{folder}: damaged model: {reason}; take another one") from None


def download(name: str, **options: Any) -> str:
    """The folder with the files of a repository on the Hub, fetched unless they are there.

    Raises:
        InputError: It cannot be fetched.
    """
    hub = required("huggingface_hub")
    try:
        return str(hub.snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS], **options))
    except Exception as error:  # the Hub's client has many
        raise InputError(f"{name}: no such folder, nor on the Hub: {_reason(error)}; correct it") from None


def required(module: str) -> Any:
    """A module of the extra `hub`.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        raise InputError(f"{package} is not installed; pip install 'deepspeech-torch[hub]'") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".;")


def model_card(name: str, model: HubModel, card: CardConfig) -> str:
    """The text of a model card, with its metadata for the Hub.

    Raises:
        InputError: huggingface-hub is not installed.
    """
    hub = required("huggingface_hub")
    results = [
        hub.EvalResult(TASK, data, data, metric, rate)
        for data, rates in card.rates()
        for metric, rate in zip(("wer", "cer"), rates, strict=False)
    ]
    metadata = hub.ModelCardData(
        license=card.license,
        language=list(card.language) or None,
        library_name="deepspeech",
        pipeline_tag=TASK,
        tags=["ctc", "deepspeech2", model.config.rnn_type],
        model_name=name if results else None,  # belongs to them
        eval_results=results or None,
    )
    text = hub.ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        name=name,
        card=card,
        rates=card.rates(),
        config=model.config,
        streams=model.config.streams,
        weights=sum(weights.numel() for weights in model.parameters()),
    )
    return str(text)
