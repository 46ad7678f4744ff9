"""The smallest model that Vosk loads: one phone, one word, a network that ignores its input.

`vosk-transcriber --server` loads a model before it connects and never uses it.
"""

from __future__ import annotations

import struct
from pathlib import Path

ACOUSTIC_MODEL = """\
<TransitionModel>
<Topology> <TopologyEntry> <ForPhones> 1 </ForPhones>
<State> 0 <PdfClass> 0 <Transition> 0 0.5 <Transition> 1 0.5 </State> <State> 1 </State>
</TopologyEntry> </Topology>
<Triples> 1
1 0 0
</Triples>
<LogProbs> [ 0 -0.693 -0.693 ] </LogProbs>
</TransitionModel>
<Nnet3>

input-node name=input dim=13
component-node name=constant component=constant input=input
output-node name=output input=constant objective=linear

<NumComponents> 1
<ComponentName> constant <FixedAffineComponent>
<LinearParams> [ 0 0 0 0 0 0 0 0 0 0 0 0 0 ] <BiasParams> [ 0 ]
</FixedAffineComponent>
</Nnet3>
<LeftContext> 0 <RightContext> 0 <Priors> [ ]
"""  # Kaldi's text form


def write_vosk_model(folder: Path) -> Path:
    """Write the model's files into a folder, which is made; returns the folder."""
    files = {
        "am/final.mdl": ACOUSTIC_MODEL.encode(),
        "conf/mfcc.conf": b"--sample-frequency=16000\n",
        "conf/model.conf": b"--max-active=10\n",
        "graph/words.txt": b"<eps> 0\nword 1\n",
        "graph/HCLG.fst": graph(),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def graph() -> bytes:
    """OpenFst's binary form of one final state with a loop from transition 1 to word 1."""
    magic, version, flags, properties = 2125659606, 2, 0, 3
    header = struct.pack("<i", magic) + string("vector") + string("standard")
    header += struct.pack("<iiQ", version, flags, properties)
    start, states, arcs, target = 0, 1, 1, 0
    header += struct.pack("<qqq", start, states, arcs)
    state = struct.pack("<fq", 0.0, arcs)  # final weight
    return header + state + struct.pack("<iifi", 1, 1, 0.0, target)


def string(text: str) -> bytes:
    """Length and characters."""
    return struct.pack("<i", len(text)) + text.encode()
