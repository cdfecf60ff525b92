"""What calibration data says of a whole model, gathered block by block: forward, then backward.

Forward, the hidden state between blocks is written to files. Backward, from the last block to the first, each block is
computed again from the file in front of it; its gradients give the sensitivities and go on to the block before, its
inputs give the second moments, and both are stored at once. So the weights and the moments of one block are held at a
time; see `iwsltpack.calibration.model_weights` for what lies between the blocks.

Every step ends with a rename: what is stopped at any moment goes on from the last whole step, to the same bytes.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from iwsltpack.calibration.block_rounding import Moments, Settings
from iwsltpack.calibration.gradients import Gradients
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.moments import Collector, Gathered, is_whole, weight_layers
from iwsltpack.calibration.streams import reading, writing
from iwsltpack.calibration.towers import Batch, Call, Joints
from iwsltpack.errors import InputError
from iwsltpack.system import fileio, locks
from iwsltpack.system.progress import SILENT, Reporter

METHOD = 4
"""What is gathered, and how damping is chosen: to be counted up where that changes, since work of both would mix."""


def gather(
    weights: Weights,
    batches: Sequence[Batch],
    folder: Path,
    settings: Settings,
    *,
    selected: Callable[[str], bool],
    identity: str = "",
    reporter: Reporter = SILENT,
) -> Moments:
    """Gather what calibration data says of a model's weight matrices.

    Parameters
    ----------
    weights
        Of the model.
    batches
        The calibration data.
    folder
        Where the work goes. What is there already is gone on from.
    settings
        How to calibrate.
    selected
        Which weights are to be rounded, by the name that a checkpoint has for them; all have two axes or more.
    identity
        Of the model, say a checksum: work begun on another is refused.
    reporter
        Is told of progress, and warned.

    Returns
    -------
    Moments
        Which rounds the matrices, at any step.

    InputError: no data, or a layer whose inputs, gradients or weights cannot be used; the folder holds
    other work. UsageError: a model that cannot be walked block by block.
    """
    if not batches or not any(int(batch.targets.sum()) for batch in batches):
        raise InputError("there is nothing to calibrate on", expected="at least one batch with targets")
    folder.mkdir(parents=True, exist_ok=True)
    with locks.held(folder / "calibration.lock", "this calibration is at work in another process"):
        _bind(folder, batches, settings, identity)
        walk, done = Walk(weights, batches, folder, settings, selected, reporter), folder / "gathered"
        if not done.exists():
            with _frozen(weights.model):
                walk.forward()
                walk.backward()
            fileio.write_bytes(done, b"")
        for left in ("states", "gradients"):
            shutil.rmtree(folder / left, ignore_errors=True)
    return walk.moments


def _bind(folder: Path, batches: Sequence[Batch], settings: Settings, identity: str) -> None:
    """Note what the folder is for, or refuse it if it is for something else; sweep up what a kill left."""
    digest = hashlib.sha256()
    for batch in batches:
        for name, tensor in sorted({**batch.inputs, "": batch.targets}.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    purpose = {
        "data": digest.hexdigest(),
        "model": identity,
        "settings": asdict(settings),
        "method": METHOD,
    }
    path = folder / "calibration.json"
    if path.exists() and (found := fileio.read_json(path)) != purpose:
        raise InputError(
            "another calibration was begun here",
            where=folder,
            expected=purpose,
            got=found,
            fix="remove it, or take another folder",
        )
    fileio.write_json(path, purpose)
    for left in folder.rglob(".*.tmp"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Keep gradients away from the parameters."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


@dataclass(eq=False)
class Walk:
    """A walk through a model; see `gather` for what it is given."""

    weights: Weights
    batches: Sequence[Batch]
    folder: Path
    settings: Settings
    selected: Callable[[str], bool]
    reporter: Reporter

    def __post_init__(self) -> None:
        weights = self.weights
        self.names = {name: stored for name, stored in weights.names.items() if self.selected(stored)}
        self.device, self.output = weights.device, weights.output
        self.joints = Joints(weights.model, weights.held)
        # Of every tower and batch: the blocks' calls, and the type of each tensor beside and whether gradients go on.
        self.given: list[list[tuple[list[Call], list[tuple[torch.dtype, bool]]]]] = []
        blocks = {id(part) for tower in self.joints.candidates for part in tower.blocks.modules()}
        named = weights.model.named_modules()
        self.beside = weight_layers([item for item in named if id(item[1]) not in blocks], self.names)
        self.first_met: dict[str, int] = {}
        targets = sum(int(batch.targets.sum()) for batch in self.batches)
        # What an embedding shares with the output layer is done once.
        shared = [name for name in self.beside if name in weights.tied]
        shared.sort(key=lambda name: not isinstance(self.beside[name], nn.Embedding))
        for name in shared:
            del self.beside[name]
        self.beside |= dict.fromkeys(shared[:1], self.output)
        # Of what lies beside the blocks, weights that are judged by their own gradients; see `_meet`.
        self.whole: list[str] = []
        # An output layer that is shared is rounded under the first of its names.
        names = [name for name in self.names.values() if name not in shared[1:]]
        folder = self.folder / "moments"
        self.moments = Moments(folder, self.settings, weights, names, shared, targets, self.reporter)

    # Forward

    def forward(self, stage: str = "calibration, forward") -> None:
        """Bring the hidden states between all blocks to disk."""
        total = sum(len(tower.blocks) for tower in self.joints.candidates)
        self.reporter.start(stage, total)
        while self._record():
            tower = len(self.given) - 1
            for block in range(len(self.joints.towers[tower].blocks)):
                if not self._states(tower, block + 1).exists():
                    self._compute(tower, block)
                self.reporter.advance()
        self.reporter.finish()

    def _states(self, tower: int, block: int) -> Path:
        """Return the file of the hidden states in front of a block; behind the last one, of a tower's outputs."""
        return self.folder / "states" / f"{tower}-{block:03d}.npy"

    def _beside(self, tower: int) -> Path:
        """Return the file of the tensors that a tower's blocks are given beside the hidden state."""
        return self.folder / "states" / f"{tower}-beside.npy"

    def _outputs(self, towers: int) -> list[Iterator[torch.Tensor]]:
        return [
            reading(self._states(tower, len(self.joints.towers[tower].blocks))) for tower in range(towers)
        ]

    def _record(self) -> bool:
        """Run the joints up to the next tower and keep what it is given; return False if there is none."""
        known = len(self.given)
        given: list[tuple[list[Call], list[tuple[torch.dtype, bool]]]] = []
        outputs = self._outputs(known)
        collector, unmet = Collector(self.beside, ()), self._unmet()
        for weight in unmet.values():
            weight.requires_grad_(True)
        try:
            with ExitStack() as files:
                for batch in self.batches:
                    collector.next_batch()
                    recorded, logits = self.joints.run(
                        self._placed(batch), [self._leaf(next(item)) for item in outputs]
                    )
                    if not given:
                        roots = [recorded.hidden, *recorded.tensors] if recorded else [logits]
                        self._meet(unmet, collector, roots)
                    if recorded is None:
                        return False
                    if not given:
                        add = files.enter_context(writing(self._states(known, 0)))
                        add_beside = files.enter_context(writing(self._beside(known)))
                    self._check_finite(recorded.hidden, "what the first block is given")
                    add(recorded.hidden)
                    for tensor in recorded.tensors:
                        add_beside(tensor)
                    kinds = [(tensor.dtype, tensor.requires_grad) for tensor in recorded.tensors]
                    given.append((recorded.calls, kinds))
        finally:
            collector.close()
            self.weights.release()
            for weight in unmet.values():
                weight.requires_grad_(False)
        for name in collector.found:
            self.first_met.setdefault(name, known)
        self.joints.accept()
        self.given.append(given)
        return True

    def _unmet(self) -> dict[str, nn.Parameter]:
        """Return weights beside the blocks, but for linear layers', that nothing is known to use yet."""
        return {
            name: layer.get_parameter("weight")
            for name, layer in self.beside.items()
            if not isinstance(layer, nn.Linear)
            and name not in self.first_met
            and layer is not self.weights.model.get_input_embeddings()
        }

    def _meet(
        self, unmet: dict[str, nn.Parameter], collector: Collector, roots: Sequence[torch.Tensor | None]
    ) -> None:
        """Note which weights the `roots`, a tower's inputs, hang on without a lookup: kernels and tables of positions.

        Gradients tell, whatever the model does with a weight: some add a table of positions without running its module.
        """
        names = [name for name in unmet if name not in collector.found]
        sums = [root.sum() for root in roots if root is not None and root.requires_grad]
        if not names or not sums:
            return
        found = torch.autograd.grad(sums, [unmet[name] for name in names], allow_unused=True)
        met = [name for name, gradient in zip(names, found, strict=True) if gradient is not None]
        self.first_met |= dict.fromkeys(met, len(self.given))
        self.whole += met

    def _placed(self, batch: Batch) -> Batch:
        kind = self.weights.dtype
        inputs = {
            name: tensor.to(self.device, kind if tensor.is_floating_point() else None)
            for name, tensor in batch.inputs.items()
        }
        return Batch(inputs, batch.targets.to(self.device))

    def _leaf(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, self.weights.dtype).requires_grad_(True)

    def _calls(
        self, tower: int, block: int
    ) -> Iterator[tuple[Call, dict[int, torch.Tensor], frozenset[int]]]:
        """Return a block's call for every batch, with its tensors and which of them gradients are wanted of."""
        stored = reading(self._beside(tower))
        for calls, kinds in self.given[tower]:
            tensors = [next(stored).to(self.device, dtype) for dtype, _ in kinds]
            wanted = calls[block].slots
            differentiable = frozenset(number for number in wanted if kinds[number][1])
            yield calls[block], {number: tensors[number] for number in wanted}, differentiable

    def _compute(self, tower: int, block: int) -> None:
        """Compute a block for all batches, and see that it runs every matrix that is to be rounded."""
        layer, layers = self._block(tower, block)
        watched = {name: part for name, part in layers.items() if not is_whole(part)}
        run: set[str] = set()
        handles = [
            part.register_forward_hook(lambda *_, name=name: run.add(name)) for name, part in watched.items()
        ]
        states = reading(self._states(tower, block))
        try:
            with (
                torch.no_grad(),
                self.weights.held(layer),
                writing(self._states(tower, block + 1)) as add,
            ):
                for call, tensors, _ in self._calls(tower, block):
                    output = call.run(layer, self._leaf(next(states)), tensors)
                    self._check_finite(output, f"{self.joints.towers[tower].name}.{block}")
                    add(output)
                self.moments.check(run, watched)
        finally:
            for handle in handles:
                handle.remove()

    def _block(self, tower: int, block: int) -> tuple[nn.Module, dict[str, nn.Module]]:
        """Return a block and those of its modules that are to be rounded, by the name of their weight."""
        layer = self.joints.towers[tower].blocks[block]
        prefix = f"{self.joints.towers[tower].name}.{block}"
        return layer, weight_layers(layer.named_modules(prefix=prefix), self.names)

    def _check_finite(self, activations: torch.Tensor, where: str) -> None:
        if not bool(torch.isfinite(activations).all()):
            raise InputError(
                "the model's activations are not finite",
                where=where,
                fix="see that the checkpoint works: decode a few segments with it uncompressed",
            )

    @torch.no_grad()
    def logits(self) -> Iterator[torch.Tensor]:
        """Yield the logits of every batch's targets, shape (targets, vocabulary), after `forward`."""
        outputs = self._outputs(len(self.joints.towers))
        try:
            for batch in self.batches:
                _, logits = self.joints.run(self._placed(batch), [self._leaf(next(item)) for item in outputs])
                if logits is not None:  # as it is behind all towers
                    yield logits
        finally:
            self.weights.release()

    # Backward

    def backward(self) -> None:
        """Gather what is needed of every matrix, from the loss to the inputs, and store each once it is complete."""
        steps = self._plan()
        self.reporter.start("calibration, backward", len(steps))
        done = 1 + max((index for index in range(len(steps)) if self._gradients(index).exists()), default=-1)
        self.reporter.advance(done)
        for index in range(done, len(steps)):
            before = self._gradients(index - 1) if index else None
            with fileio.atomic_directory(self._gradients(index)) as folder:
                gradients = Gradients(before, folder, self.device)
                tower, block = steps[index]
                if block is None:
                    self._through_joints(tower, gradients)
                else:
                    self._through_block(tower, block, gradients)
            for old in range(index):
                shutil.rmtree(self._gradients(old), ignore_errors=True)
            self.reporter.advance()
        self.reporter.finish()

    def _plan(self) -> list[tuple[int, int | None]]:
        """Return the steps backward: a tower and its block, or the joints in front of a tower (or of the loss)."""
        towers = self.joints.towers
        steps: list[tuple[int, int | None]] = [(len(towers), None)]
        for tower in reversed(range(len(towers))):
            steps += [(tower, block) for block in reversed(range(len(towers[tower].blocks)))]
            steps.append((tower, None))
        return steps

    def _gradients(self, step: int) -> Path:
        return self.folder / "gradients" / f"{step:04d}"

    def _through_joints(self, known: int, gradients: Gradients) -> None:
        """Bring gradients from what a tower is given (or from the loss) to the outputs of the towers before it."""
        collector = Collector(self.beside, self.whole)
        curvature = torch.zeros(self.output.weight.shape[0], dtype=torch.float64, device=self.device)
        outputs = self._outputs(known)
        try:
            with gradients.batches(partial=False):
                for number, batch in enumerate(self.batches):
                    collector.next_batch()
                    leaves = [self._leaf(next(item)) for item in outputs]
                    recorded, logits = self.joints.run(self._placed(batch), leaves)
                    if recorded is not None:
                        gradients.back_to(recorded)
                    elif logits is not None and len(logits):
                        curvature += self._through_loss(logits, number)
                    for tower, leaf in enumerate(leaves):
                        gradients.add(f"out-{tower}", leaf.grad, leaf)
        finally:
            collector.close()
            self.weights.release()
        found, last = collector.found, len(self.joints.towers)
        if known == last:
            self._check_all_met(found)
            for name in self.moments.outputs[:1]:
                found[name].gradients = curvature
        gradients.merge_partial(found)
        ready = {name for name in self.beside if self.first_met.get(name, last) == known}
        gradients.keep_partial({name: found[name] for name in found if name not in ready})
        self.moments.keep(found, [name for name in self.beside if name in ready], self.whole)

    def _check_all_met(self, found: dict[str, Gathered]) -> None:
        """Refuse to begin where a matrix would be left over in the end."""
        layers = {name: layer for name, layer in self.beside.items() if name not in self.first_met}
        for tower in self.joints.candidates:
            if tower not in self.joints.towers:
                layers |= weight_layers(tower.blocks.named_modules(prefix=tower.name), self.names)
        self.moments.check(found, layers)

    def _through_loss(self, logits: torch.Tensor, batch: int) -> torch.Tensor:
        """Draw labels from the model's own distribution and go back from their loss; return ``sum p (1 - p)``."""
        self._check_finite(logits, "the output layer")
        chances = torch.softmax(logits.detach().float(), -1)
        dice = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + batch)
        labels = torch.multinomial(chances.cpu(), 1, generator=dice)[:, 0].to(logits.device)
        loss = nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
        torch.autograd.backward([loss])
        return (chances * (1 - chances)).sum(0, dtype=torch.float64)

    def _through_block(self, tower: int, block: int, gradients: Gradients) -> None:
        layer, layers = self._block(tower, block)
        whole = [name for name, part in layers.items() if is_whole(part)]
        collector = Collector(layers, whole)
        states = reading(self._states(tower, block))
        if block + 1 == len(self.joints.towers[tower].blocks):
            gradients.enter(tower)
        try:
            with self.weights.held(layer), gradients.batches(partial=True):
                for call, tensors, differentiable in self._calls(tower, block):
                    collector.next_batch()
                    hidden = self._leaf(next(states))
                    for number in differentiable:
                        tensors[number].requires_grad_(True)
                    output = call.run(layer, hidden, tensors)
                    torch.autograd.backward([output], [gradients.hidden(output)])
                    gradients.put("hidden", torch.zeros_like(hidden) if hidden.grad is None else hidden.grad)
                    for number in sorted(differentiable):
                        gradients.add(f"slot-{number}", tensors[number].grad, tensors[number])
        finally:
            collector.close()
        self.moments.keep(collector.found, layers, whole)
