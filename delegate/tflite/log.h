// Lines for people: on stderr, or in Android's log (tag dgms_delegate).
#ifndef DGMS_TFLITE_LOG_H_
#define DGMS_TFLITE_LOG_H_

#include <string>

namespace dgms {

// Writes one line, "dgms: " and `text`, in one piece (lines of different threads do not mix). A text of several lines
// makes one entry for each in Android's log.
void LogLine(const std::string& text);

// printf into a string.
__attribute__((format(printf, 1, 2))) std::string Format(const char* format, ...);

}  // namespace dgms

#endif  // DGMS_TFLITE_LOG_H_
