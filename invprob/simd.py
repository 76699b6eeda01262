"""Short vectors inside numba kernels: `count` numbers side by side that one instruction works on.

Numba's own vectoriser turns table look-ups into slow gathers. Where several images are walked along the same ray,
their pixels lie side by side instead, and a look-up is one vector load; this says so explicitly. The vectors are
LLVM's portable ones: any processor runs them, in as many registers as it needs.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, import-untyped, call-arg"
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model


class Lanes(types.Type):
    """The numba type of `count` numbers of type `dtype`."""

    def __init__(self, dtype: types.Float, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """Lanes are an LLVM vector."""

    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        number = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(number, fe_type.count))


@intrinsic(prefer_literal=True)
def _load(typingctx, array, offset, count):
    """Return `count` numbers of a flat C array from `offset` on; nothing checks the bounds."""
    del typingctx, offset
    if not isinstance(count, types.IntegerLiteral):
        return None
    lanes = Lanes(array.dtype, count.literal_value)

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(lanes)
        place = _place(context, builder, signature.args[0], args[0], args[1], vector)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp, count), codegen


@intrinsic
def _store(typingctx, array, offset, value):
    """Write a vector into a flat C array from `offset` on; nothing checks the bounds."""
    del typingctx, offset

    def codegen(context, builder, signature, args):
        place = _place(context, builder, signature.args[0], args[0], args[1], args[2].type)
        builder.store(args[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _together(lanes):
    """Return what writes the code that makes a vector of its numbers."""

    def codegen(context, builder, signature, args):
        del signature
        vector = ir.Constant(context.get_value_type(lanes), ir.Undefined)
        for k, number in enumerate(args):
            vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), k))
        return vector

    return codegen


@intrinsic
def _pair(typingctx, first, second):
    """Return the vector (first, second)."""
    del typingctx
    lanes = Lanes(first, 2)
    return lanes(first, second), _together(lanes)


@intrinsic
def _total(typingctx, value):
    """Return the sum of a vector of two."""
    del typingctx

    def codegen(context, builder, signature, args):
        del context, signature
        first, second = (builder.extract_element(args[0], ir.Constant(ir.IntType(32), k)) for k in (0, 1))
        return builder.fadd(first, second)

    return value.dtype(value), codegen


@intrinsic
def _four(typingctx, a, b, c, d):
    """Return the vector (a, b, c, d)."""
    del typingctx
    lanes = Lanes(a, 4)
    return lanes(a, a, a, a), _together(lanes)


@intrinsic
def _whole(typingctx, value):
    """Return a vector without the fractions of its numbers, which are within the range of int32."""
    del typingctx

    def codegen(context, builder, signature, args):
        del context, signature
        whole = builder.fptosi(args[0], ir.VectorType(ir.IntType(32), value.count))
        return builder.sitofp(whole, args[0].type)

    return value(value), codegen


@intrinsic(prefer_literal=True)
def _index(typingctx, value, place):
    """Return the whole part of the number at a literal place of a vector."""
    del typingctx
    if not isinstance(place, types.IntegerLiteral):
        return None

    def codegen(context, builder, signature, args):
        del context, signature
        whole = builder.fptosi(args[0], ir.VectorType(ir.IntType(32), value.count))
        found = builder.extract_element(whole, ir.Constant(ir.IntType(32), place.literal_value))
        return builder.sext(found, ir.IntType(64))

    return types.int64(value, place), codegen


@intrinsic(prefer_literal=True)
def _woven(typingctx, a, b, first):
    """Return (a[first], b[first], a[first + 1], b[first + 1]) of two vectors of four, for a literal `first`."""
    del typingctx
    if not isinstance(first, types.IntegerLiteral):
        return None
    k = first.literal_value

    def codegen(context, builder, signature, args):
        del context, signature
        order = ir.Constant(ir.VectorType(ir.IntType(32), 4), [k, 4 + k, k + 1, 5 + k])
        return builder.shuffle_vector(args[0], args[1], order)

    return a(a, a, first), codegen


@intrinsic
def _joined(typingctx, a, b):
    """Return two vectors of two as one of four."""
    del typingctx
    lanes = Lanes(a.dtype, 4)

    def codegen(context, builder, signature, args):
        del context, signature
        order = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0, 1, 2, 3])
        return builder.shuffle_vector(args[0], args[1], order)

    return lanes(a, a), codegen


@intrinsic(prefer_literal=True)
def _half(typingctx, value, first):
    """Return the two numbers of a vector from a literal place on."""
    del typingctx
    if not isinstance(first, types.IntegerLiteral):
        return None
    k, lanes = first.literal_value, Lanes(value.dtype, 2)

    def codegen(context, builder, signature, args):
        del context, signature
        order = ir.Constant(ir.VectorType(ir.IntType(32), 2), [k, k + 1])
        return builder.shuffle_vector(args[0], args[0], order)

    return lanes(value, first), codegen


load: Callable[..., Any] = _load
four: Callable[..., Any] = _four
whole: Callable[..., Any] = _whole
index: Callable[..., Any] = _index
woven: Callable[..., Any] = _woven
joined: Callable[..., Any] = _joined
half: Callable[..., Any] = _half
store: Callable[..., Any] = _store
pair: Callable[..., Any] = _pair
total: Callable[..., Any] = _total


def _place(context, builder, array_type, array, offset, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _elementwise(instruction: str):
    """Return the vector operation of one LLVM instruction; `contract` lets multiply and add become one."""

    @intrinsic
    def operation(typingctx, a, b):
        del typingctx

        def codegen(context, builder, signature, args):
            del context, signature
            return getattr(builder, instruction)(*args, flags=("contract",))

        return a(a, b), codegen

    return operation


@intrinsic
def _repeated(typingctx, number, like):
    del typingctx

    def codegen(context, builder, signature, args):
        del signature
        nothing = ir.Constant(context.get_value_type(like), ir.Undefined)
        first = builder.insert_element(nothing, args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), like.count), [0] * like.count)
        return builder.shuffle_vector(first, nothing, zeros)

    return like(number, like), codegen


_add, _subtract, _multiply = _elementwise("fadd"), _elementwise("fsub"), _elementwise("fmul")


@overload(operator.add)
def _plus(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _add(a, b)
    return None


@overload(operator.sub)
def _minus(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _subtract(a, b)
    return None


@overload(operator.mul)
def _times(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _multiply(a, b)
    if isinstance(b, Lanes) and a == b.dtype:
        return lambda a, b: _multiply(_repeated(a, b), b)
    return None
