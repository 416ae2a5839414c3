"""Since when nobody has touched keyboard or mouse, where the system tells every program so."""

import ctypes
import sys

_HID_STATE = 1
_ANY_INPUT = 0xFFFFFFFF
_APPLICATION_SERVICES = "/System/Library/Frameworks/ApplicationServices.framework/ApplicationServices"


def input_age() -> float | None:
    """Seconds since the last key, click or movement in this session; None where it cannot be had reliably.

    Windows: GetLastInputInfo. macOS: CGEventSourceSecondsSinceLastEventType. Linux: None. X11 and each Wayland desktop
    tell it in ways of their own, and logind's idle hint is set by some desktops only.
    """
    try:
        if sys.platform == "win32":
            return _windows_age()
        if sys.platform == "darwin":
            services = ctypes.CDLL(_APPLICATION_SERVICES)
            since = services.CGEventSourceSecondsSinceLastEventType
            since.restype, since.argtypes = ctypes.c_double, (ctypes.c_int32, ctypes.c_uint32)
            return float(since(_HID_STATE, _ANY_INPUT))
    except (OSError, AttributeError):
        return None
    return None


if sys.platform == "win32":

    class _LastInput(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint), ("ticks", ctypes.c_uint))

    def _windows_age() -> float | None:
        last = _LastInput(size=ctypes.sizeof(_LastInput))
        if not ctypes.windll.user32.GetLastInputInfo(ctypes.byref(last)):
            return None
        now = ctypes.windll.kernel32.GetTickCount()
        return ((now - last.ticks) & 0xFFFFFFFF) / 1000  # both count milliseconds and begin anew after 49 days
