// The pages of a model's file that stay in memory because they were read once.
#ifndef DGMS_TFLITE_MAPPED_FILE_H_
#define DGMS_TFLITE_MAPPED_FILE_H_

#include <cstdint>
#include <vector>

namespace dgms {

struct ByteRange {
  const void* first = nullptr;
  int64_t bytes = 0;
};

// Takes those pages of this process's memory in which `ranges` lie and which mirror a file that the runtime has mapped:
// a later read fetches them from the file again, or from the system's cache of it. Other memory is left alone (a model
// that the application has read itself). What it cannot find out, or where little would come of it, it leaves as it is.
//   maps   a list of mappings, as Linux shows that of this process; where the system answers questions about it, it
//          need not be read
// Returns how many bytes of address space it went over.
int64_t LetGoOfFilePages(std::vector<ByteRange> ranges, const char* maps = "/proc/self/maps");

}  // namespace dgms

#endif  // DGMS_TFLITE_MAPPED_FILE_H_
