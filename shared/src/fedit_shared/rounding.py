"""Compiled loops of the quantization. Of the rest of the package they use constants of ``parameters`` alone."""

import numpy as np

from .compiled import kernel
from .parameters import DEGREE


@kernel
def survey(delta, bounds, clip):
    """Whether all of ``delta`` is finite, and how many values of each tensor lie outside its clip range."""
    finite = 0
    outside = np.zeros(clip.size, np.int64)
    for tensor in range(clip.size):
        values = delta[bounds[tensor] : bounds[tensor + 1]]
        beyond = 0
        for i in range(values.size):
            size = abs(np.float64(values[i]))
            finite += int(size < np.inf)  # false for NaN too
            beyond += int(size > clip[tensor])
        outside[tensor] = beyond
    return finite == delta.size, outside


@kernel
def size_at(bits, rank):
    """The float32 bits of the absolute value that is at place ``rank``, from 0, were ``bits`` (uint32: of float32, none
    of them NaN) in order of their absolute values. Of positive floats, order is that of their bits."""
    found, counts = 0, np.zeros(1 << 16, np.int64)
    for shift in (16, 0):  # first the upper half of the bits, then, among those that have it, the lower
        counts[:] = 0
        for i in range(bits.size):
            size = np.int64(bits[i] & np.uint32(0x7FFFFFFF))
            if shift == 16 or size >> 16 == found >> 16:
                counts[(size >> shift) & 0xFFFF] += 1
        half = 0
        while rank >= counts[half]:
            rank -= counts[half]
            half += 1
        found |= half << shift
    return found


@kernel
def quantize_rows(delta, first, bounds, scale, limit, extras, bits, per, words, out):
    """Slot s of coefficient i of row j holds value (j·m + s)·N + i; see :meth:`Quantized.rows` for shapes."""
    dimension = bounds[-1]
    bound = float(limit)
    for row in range(out.shape[0]):
        for place in range(per):
            start = ((first + row) * per + place) * DEGREE
            shift = np.uint64(place * bits)
            target, noise = out[row], words[row, place * DEGREE : (place + 1) * DEGREE]
            if place == 0:
                target[:] = np.uint64(0)
            end = min(start + DEGREE, dimension)
            tensor = np.searchsorted(bounds, start, side="right") - 1
            at = start
            while at < end:
                stop = min(end, bounds[tensor + 1])
                factor = scale[tensor]
                # Sliced, so that no index can be negative: only then does the compiler vectorize.
                values, units, places = (
                    delta[at:stop],
                    noise[at - start : stop - start],
                    target[at - start : stop - start],
                )
                for i in range(values.size):
                    value = min(max(np.float64(values[i]) * factor, -bound), bound)
                    whole = np.floor(value + np.float64(units[i]) * 2.0**-32)
                    slot = np.int64(min(whole, bound)) + limit
                    places[i] |= np.uint64(slot) << shift
                at = stop
                tensor += 1
            for extra in range(extras.size):
                i = dimension + extra - start
                if 0 <= i < DEGREE:
                    slot = np.int64(min(np.floor(extras[extra] + np.float64(noise[i]) * 2.0**-32), 2.0 * bound))
                    target[i] |= np.uint64(slot) << shift


@kernel
def split_rows(messages, first, bits, per, out):
    """The inverse of :func:`quantize_rows` as to places; False if a slot beyond ``out`` is not zero."""
    mask = np.uint64((1 << bits) - 1)
    clean = True
    for row in range(messages.shape[0]):
        for place in range(per):
            start = ((first + row) * per + place) * DEGREE
            shift = np.uint64(place * bits)
            source, places = messages[row], out[start : start + DEGREE]
            for i in range(places.size):
                places[i] = (source[i] >> shift) & mask
            for i in range(places.size, DEGREE):
                clean = clean and ((source[i] >> shift) & mask) == 0
    return clean


@kernel
def mean_values(slots, offset, step, out):
    """out = (slots − offset)·step in float64, rounded to float32."""
    for i in range(slots.size):
        out[i] = np.float32((np.float64(slots[i]) - offset) * step)
