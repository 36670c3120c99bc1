// `dgms_keras._native`: the delegate's parts for Python tests and benches. Not a public interface.
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace dgms {
void register_format(py::module_& module);   // format_bindings.cc
void register_kernels(py::module_& module);  // kernels_bindings.cc
}  // namespace dgms

PYBIND11_MODULE(_native, module) {
  module.doc() = "The delegate's packed code reader, packers and kernels, for tests and benches.";
  dgms::register_format(module);
  dgms::register_kernels(module);
}
