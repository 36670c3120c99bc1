// The packed code stream (format/packed_codes.h) as NumPy functions.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "format/packed_codes.h"

namespace py = pybind11;

namespace dgms {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;

const CodeFormat& FormatOf(int bits) {
  const CodeFormat* format = CodeFormatOf(bits);
  if (format == nullptr) throw py::value_error("`bits` must be 2, 3 or 4. Received: bits=" + std::to_string(bits));
  return *format;
}

int64_t CheckedCount(int64_t count) {
  if (count < 0 || count > (int64_t{1} << 40)) {
    throw py::value_error("`count` must be 0 or more, and sensible. Received: count=" + std::to_string(count));
  }
  return count;
}

Bytes Unpack(const std::vector<Bytes>& planes, int bits, int64_t count) {
  const CodeFormat& format = FormatOf(bits);
  CheckedCount(count);
  if (static_cast<int>(planes.size()) != format.plane_count) {
    throw py::value_error("`planes` must have " + std::to_string(format.plane_count) +
                          " arrays. Received: " + std::to_string(planes.size()));
  }
  const uint8_t* data[kMaxPlanes] = {};
  for (int i = 0; i < format.plane_count; ++i) {
    if (planes[i].ndim() != 1 || planes[i].size() != format.plane_bytes(i, count)) {
      throw py::value_error("plane " + std::to_string(i) + " must have " +
                            std::to_string(format.plane_bytes(i, count)) +
                            " bytes. Received: " + std::to_string(planes[i].size()));
    }
    data[i] = planes[i].data();
  }
  Bytes codes(count);
  UnpackCodes(format, data, count, codes.mutable_data());
  return codes;
}

std::vector<Bytes> Pack(const Bytes& codes, int bits) {
  const CodeFormat& format = FormatOf(bits);
  if (codes.ndim() != 1) throw py::value_error("`codes` must have one dimension");
  for (py::ssize_t i = 0; i < codes.size(); ++i) {
    if (codes.at(i) >= format.codebook_size()) {
      throw py::value_error("`codes` must be below 2**bits. Received: " + std::to_string(codes.at(i)));
    }
  }
  std::vector<Bytes> planes;
  uint8_t* data[kMaxPlanes] = {};
  for (int i = 0; i < format.plane_count; ++i) {
    planes.emplace_back(format.plane_bytes(i, codes.size()));
    data[i] = planes.back().mutable_data();
  }
  PackCodes(format, codes.data(), codes.size(), data);
  return planes;
}

}  // namespace

void register_format(py::module_& module) {
  module.def("unpack_codes", &Unpack, py::arg("planes"), py::arg("bits"), py::arg("count"),
             "One uint8 code per element from a list of planes (FORMAT.md, section 1).");
  module.def("pack_codes", &Pack, py::arg("codes"), py::arg("bits"), "The planes of uint8 codes; the inverse.");
}

}  // namespace dgms
