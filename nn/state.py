"""State of modules: `state_dict` and `load_state_dict`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..autograd import Tensor, no_grad
from ..autograd.errors import warn
from .hooks import Hooks
from .parameter import Parameter, is_lazy

__all__ = ["StateMethods"]

_EXTRA = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found missing, and what it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


class StateMethods:
    """What of a Module has to do with its state."""

    _version = 1
    _cr_hooks: Hooks | None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def get_extra_state(self) -> Any:
        """What a subclass wants in `state_dict` besides tensors; `set_extra_state` takes it back."""
        raise RuntimeError(
            "get_extra_state() has no counterpart unless a subclass defines it together with set_extra_state()"
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError("set_extra_state() is defined by the subclass that defines get_extra_state()")

    def _cr_has_extra_state(self, method: str = "get_extra_state") -> bool:
        return getattr(type(self), method) is not getattr(StateMethods, method)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        skipped = self._non_persistent_buffers_set
        for name, value in [*self._cr_entries("parameter"), *self._cr_entries("buffer")]:
            if value is not None and name not in skipped:
                destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()
        if self._cr_has_extra_state():
            destination[prefix + _EXTRA] = self.get_extra_state()

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """An ordered dictionary of all parameters and persistent buffers by path, on the module's own memory.

        keep_vars: the Parameters themselves instead of detached tensors.
        """
        if args:  # PyTorch's former positional form
            given: Any = (*args, *(destination, prefix, keep_vars)[len(args) :])
            destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local
        hooks = self._cr_hooks
        for hook in list(hooks.state_dict_pre.values()) if hooks else ():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._cr_entries("module"):
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for key, hook in list(hooks.state_dict_post.items()) if hooks else ():
            result = hook(self, destination, prefix, local)
            if result is not None:
                if hooks and hooks.has(key, "returns_none"):
                    raise RuntimeError("state_dict post-hook must return None")
                destination = result
        return destination

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        hooks = self._cr_hooks
        for hook in list(hooks.load_pre.values()) if hooks else ():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        skipped = self._non_persistent_buffers_set
        entries = [*self._cr_entries("parameter"), *self._cr_entries("buffer")]
        own = {name: value for name, value in entries if value is not None and name not in skipped}
        for name, old in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            new = state_dict[key]
            if not isinstance(new, Tensor):
                error_msgs.append(
                    f'While copying the parameter named "{key}", expected a Tensor from the checkpoint but received '
                    f"{type(new).__name__}"
                )
                continue
            if is_lazy(old):
                if not is_lazy(new):
                    old.materialize(new.shape)
            elif len(old.shape) == 0 and tuple(new.shape) == (1,):
                new = new.reshape(())  # numbers were kept as one-element vectors once
            if is_lazy(new):
                continue
            if tuple(new.shape) != tuple(old.shape):
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {new.shape} from checkpoint, the shape in "
                    f"current model is {old.shape}."
                )
                continue
            if not assign:
                if old.is_meta and not new.is_meta:
                    warn(
                        f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the "
                        "current model, which is a no-op. (Did you mean to pass `assign=True` to assign items in the "
                        "state dictionary to their corresponding key in the module instead of copying them in place?)"
                    )
                with no_grad():
                    old.copy_(new)
            elif isinstance(old, Parameter) and not isinstance(new, Parameter):
                setattr(self, name, Parameter(new.detach(), requires_grad=old.requires_grad))
            else:
                setattr(self, name, new)
        extra = prefix + _EXTRA
        if self._cr_has_extra_state("set_extra_state"):
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            children = {name for name, _ in self._cr_entries("module")}
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    name, dot, _ = key[len(prefix) :].partition(".")
                    if name not in (children if dot else own):
                        unexpected_keys.append(key)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy parameters and buffers out of a `state_dict`.

        strict: RuntimeError unless the keys are exactly the module's. Sizes must match in any case.
        assign: take the tensors themselves instead of copying their values.
        Returns (missing_keys, unexpected_keys).
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata  # type: ignore[attr-defined]

        def load(module: Any, local_state: Any, prefix: str) -> None:
            local = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
            local["assign_to_params_buffers"] = assign
            module._load_from_state_dict(local_state, prefix, local, True, missing, unexpected, errors)
            for name, child in module._cr_entries("module"):
                if child is not None:
                    inner = f"{prefix}{name}."
                    load(child, {k: v for k, v in local_state.items() if k.startswith(inner)}, inner)
            found = _IncompatibleKeys(missing, unexpected)
            for hook in list(module._cr_hooks.load_post.values()) if module._cr_hooks else ():
                if hook(module, found) is not None:
                    raise AssertionError("a load_state_dict post hook changes the lists in place and returns None")

        load(self, state, "")
        if strict:
            for text, keys in (("Unexpected", unexpected), ("Missing", missing)):
                if keys:
                    names = ", ".join(f'"{k}"' for k in keys)
                    errors.insert(0, f"{text} key(s) in state_dict: {names}. ")
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(type(self).__name__, "\n\t".join(errors))
            )
        return _IncompatibleKeys(missing, unexpected)
