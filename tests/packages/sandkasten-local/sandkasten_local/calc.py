"""A kernel whose language is sums: ``price = 3 * 4``, ``price + 1``, and ``env NAME`` for a variable."""

from __future__ import annotations

import ast
import operator
import os
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


class CalcKernel(Kernel):  # type: ignore[misc]
    implementation = "calc"
    implementation_version = "1"
    language_info = {"name": "calc", "mimetype": "text/plain", "file_extension": ".calc"}  # noqa: RUF012
    banner = "sums"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._names: dict[str, Any] = {}

    def do_execute(self, code: str, silent: bool, *_: Any, **__: Any) -> dict[str, Any]:
        """Work out one line, and show its value."""
        name, equals, right = (part.strip() for part in code.partition("="))
        try:
            value = self._value(right if equals else name)
        except (ValueError, SyntaxError, ZeroDivisionError) as error:
            return {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        if equals:
            self._names[name] = value
        elif not silent:
            self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": f"{value}\n"})
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

    def _value(self, text: str) -> Any:
        if text.startswith("env "):
            return os.environ.get(text.removeprefix("env "), "")
        return self._sum(ast.parse(text, mode="eval").body)

    def _sum(self, node: ast.expr) -> Any:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self._sum(node.left), self._sum(node.right))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if isinstance(node, ast.Name) and node.id in self._names:
            return self._names[node.id]
        raise ValueError("not a sum, or of an unknown name")


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=CalcKernel)
