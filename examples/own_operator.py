"""An operator of your own
=======================

A user's own operator in 15 lines, and one from two functions; both checked by the laws, both reconstructed."""

import torch
from torch import Tensor

from invprob import Scan, metrics, reconstruct, testing
from invprob.linop import LinearOperator


class Binning(LinearOperator):
    """y = means over k x k blocks, as a camera with coarse pixels sees them; the adjoint is derived."""

    nonnegative = True

    def __init__(self, shape: tuple[int, int], k: int) -> None:
        super().__init__(shape, (shape[0] // k, shape[1] // k))
        self.k = k

    def _forward(self, x: Tensor) -> Tensor:
        blocks = x.unflatten(-1, (-1, self.k)).unflatten(-3, (-1, self.k))  # any number of batch axes, none included
        return blocks.mean((-3, -1))  # of complex images, too; F.avg_pool2d would refuse them


truth = torch.zeros(48, 48)
truth[8:28, 10:36] = 1
truth[22:40, 20:30] = 2
A = Binning((48, 48), 3)

# the same from two functions, which may hide anything: each is the other's derivative
B = LinearOperator.from_functions(
    lambda x: x.unflatten(-1, (16, 3)).unflatten(-3, (16, 3)).mean((-3, -1)),
    lambda y: y.repeat_interleave(3, -1).repeat_interleave(3, -2) / 9,
    A.domain_shape,
    A.range_shape,
)

# what a mistake looks like: the same with an adjoint that forgets the mean's 1/9
wrong = LinearOperator.from_functions(A, lambda y: 9 * A.adjoint(y), A.domain_shape, A.range_shape)
broken = testing.examine(wrong, only=["adjoint"])
print(broken)
assert not broken
assert "too large by 9.00" in broken["adjoint"].look

for operator in (A, B):
    print(testing.check(operator))  # a sentence per law; a broken one raises and says what to look at
    assert torch.allclose(operator(truth), A(truth))
    result = reconstruct(Scan(operator=operator, data=operator(truth)), "tv", strength=1e-2)
    psnr = float(metrics.psnr(result.x, truth, data_range=2.0))
    blocks = float(metrics.psnr(9 * A.adjoint(A(truth)), truth, data_range=2.0))
    print(f"{type(operator).__name__}: {result.status}, {psnr:.1f} dB (the blocks themselves {blocks:.1f} dB)")
    assert psnr > blocks + 1

images = {"truth": truth, "means over blocks": A(truth), "tv": result.x}
