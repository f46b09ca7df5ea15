"""A pretrained transformer made reversible begins as it was, is undone to the last bit, and keeps little."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmarks.memory_peaks import peak_bytes
from supernet.errors import ConfigError, SpaceError
from supernet.reversible.adapters import AdaptedBlocks, Remainders, reversible_adapters

WIDTH, TOKENS = 32, 17


def vit(depth: int = 4, seed: int = 0, **options: object) -> nn.Module:
    """A small vision transformer for images of 32 px, whose blocks change the tokens by as much as they are."""
    torch.manual_seed(seed)
    made: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=WIDTH, depth=depth, num_heads=2, num_classes=10,
        **options,
    )  # fmt: skip
    for name, parameter in made.named_parameters():
        if "blocks" in name and parameter.dim() == 2:
            nn.init.normal_(parameter, std=WIDTH**-0.5)
        if name in ("cls_token", "pos_embed"):  # as large as tokens are once a network was trained
            nn.init.normal_(parameter)
    return made.train()


def images(batch: int = 2) -> Tensor:
    """Random ones ``(batch, 3, 32, 32)``."""
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def moved(model: nn.Module) -> nn.Module:
    """The network with adapters that have learnt something."""
    chance = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".adapter.up." in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=chance) / 5)
    return model


@pytest.mark.parametrize("depth", [1, 4, 7])
def test_it_begins_as_the_pretrained_network(depth: int) -> None:
    plain, x = vit(depth), images()
    adapted = reversible_adapters(deepcopy(plain))
    expected = plain(x).detach()
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(adapted(x).detach(), expected, rtol=0, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(adapted(x), expected, rtol=0, atol=1e-4)
    changed = moved(adapted)(x).detach()
    assert (changed - expected).abs().max() > 0.01


def test_the_start_is_off_by_the_share_that_streams_keep() -> None:
    plain, x = vit(), images()
    expected = plain(x).detach()
    off = [
        (reversible_adapters(deepcopy(plain), bits=bits)(x).detach() - expected).abs().max().item()
        for bits in (2, 6, 10)
    ]
    assert off[0] > 10 * off[1] > 100 * off[2] > 0


@pytest.mark.parametrize("bits", [0, 5, 8, 13, 16])
def test_what_is_undone_is_what_was_to_the_last_bit(bits: int) -> None:
    chance = torch.Generator().manual_seed(0)
    arithmetic = Remainders(torch.float32, bits)
    start = arithmetic.held(20 * torch.randn(1000, generator=chance))
    outs = [20 * torch.randn(1000, generator=chance) for _ in range(6)]
    stream = start
    for out in outs:
        stream = arithmetic.add(stream, 2.0**-bits, out)
    for out in reversed(outs):
        stream = arithmetic.undo(stream, 2.0**-bits, out)
    assert torch.equal(stream, start) and not arithmetic.kept


@pytest.mark.parametrize("bits", [0, 8, 16])
def test_gradients_are_those_of_ordinary_autograd(bits: int) -> None:
    model, x = moved(reversible_adapters(vit().double(), bits=bits)), images().double()
    found = []
    for memory_free in (False, True):
        assert isinstance(model.blocks, AdaptedBlocks)
        model.blocks.stage.memory_free = memory_free
        model.zero_grad()
        model(x).square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    plain, again = found
    learning = {name for name, gradient in plain.items() if gradient is not None}
    assert (
        all(".adapter." in name or name.startswith("head.") for name in learning)
        and len(learning) == 4 * 4 + 2
    )
    for name in plain:
        assert (plain[name] is None) == (again[name] is None)
        if plain[name] is not None and again[name] is not None:
            error = (plain[name] - again[name]).norm() / plain[name].norm()  # type: ignore[union-attr, operator]
            assert error < 2e-4, name  # streams are rounded to 2^-16


def test_only_adapters_and_the_head_move() -> None:
    model, x = reversible_adapters(vit()), images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != (".adapter." in name or name.startswith("head.")), name


def test_it_runs_in_mixed_precision() -> None:
    model, x = moved(reversible_adapters(vit())), images()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x).float().square().mean()
    loss.backward()
    assert torch.isfinite(loss) and model.head.weight.grad.abs().max() > 0
    half = model.bfloat16()
    half(x.bfloat16()).square().mean().backward()


def test_a_block_adds_its_kept_bits_and_its_gradients_to_the_peak() -> None:
    entries, x = 8 * TOKENS * WIDTH, images(8)

    def peak(depth: int, make: Callable[[nn.Module], nn.Module]) -> int:
        """Of a step."""
        model = make(vit(depth))

        def step() -> None:
            """Forward and backward pass."""
            model(x).square().sum().backward()
            model.zero_grad()

        return peak_bytes(step, warm=False)

    def growth(make: Callable[[nn.Module], nn.Module]) -> float:
        """Bytes of the peak for each block more."""
        return (peak(5, make) - peak(2, make)) / 3

    gradients = 4 * (2 * WIDTH * 4 + 4 + WIDTH)
    small = 64 * 20  # shapes, versions and whatever else is no activation
    for bits, kept in ((0, 0), (16, 2 * entries)):
        assert (
            growth(lambda model, bits=bits: reversible_adapters(model, 4, bits)) <= kept + gradients + small
        )  # type: ignore[misc]
    assert growth(lambda model: model) > 15 * 4 * entries


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (lambda: timm.create_model("resnet18"), {}, SpaceError, "ResNet has no row of blocks"),
        (
            lambda: vit(drop_path_rate=0.1),
            {},
            SpaceError,
            r"block 1 draws random numbers \(drop_path1\).*drop_path_rate",
        ),
        (vit, {"bits": 17}, ConfigError, "bits is 17; it can be 0 to 16"),
        (vit, {"rank": 0}, ConfigError, "rank is 0; it can be at least 1"),
    ],
)
def test_what_can_not_be_made_reversible_is_refused(
    model: Callable[[], nn.Module], options: dict[str, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reversible_adapters(model(), **options)
