// The functions of Android's libc (bionic) that glibc lacks, or whose arguments or data are laid out differently there. build.sh makes jumps to
// glibc for all others; it knows the names below by their lines `BIONIC(name)`.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Exports bionic_NAME as NAME in bionic's symbol version.
#define BIONIC(name) __asm__(".symver bionic_" #name ", " #name "@LIBC");

// -- names that glibc lacks ---------------------------------------------------------------------------------------------------------------

int* bionic___errno(void) { return &errno; }
BIONIC(__errno)

// _FORTIFY_SOURCE's strlen; `size` is that of the buffer, for a check that a desktop does not need.
size_t bionic___strlen_chk(const char* text, size_t size) {
  (void)size;
  return strlen(text);
}
BIONIC(__strlen_chk)

// TFLite's Java runtime applies XNNPACK by itself only from API level 20 on. Other properties are empty, as unknown ones are.
int bionic___system_property_get(const char* name, char* value) {
  strcpy(value, strcmp(name, "ro.build.version.sdk") == 0 ? "35" : "");
  return (int)strlen(value);
}
BIONIC(__system_property_get)

void bionic_android_set_abort_message(const char* text) { fprintf(stderr, "abort: %s\n", text); }
BIONIC(android_set_abort_message)

// -- stdio --------------------------------------------------------------------------------------------------------------------------------

// In libraries built for API levels below 23, stdin, stdout and stderr are addresses inside of an array of bionic's FILE, which has 152 bytes.
// Other FILE pointers come from fopen, hence from glibc.
enum { kBionicFileBytes = 152 };
char bionic___sF[3 * kBionicFileBytes];
BIONIC(__sF)

static FILE* HostFile(FILE* file) {
  const char* at = (const char*)file;
  if (at == bionic___sF) return stdin;
  if (at == bionic___sF + kBionicFileBytes) return stdout;
  return at == bionic___sF + 2 * kBionicFileBytes ? stderr : file;
}

int bionic_vfprintf(FILE* file, const char* format, va_list arguments) { return vfprintf(HostFile(file), format, arguments); }
BIONIC(vfprintf)

int bionic_fprintf(FILE* file, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int written = vfprintf(HostFile(file), format, arguments);
  va_end(arguments);
  return written;
}
BIONIC(fprintf)

int bionic_fputc(int c, FILE* file) { return fputc(c, HostFile(file)); }
BIONIC(fputc)
int bionic_fflush(FILE* file) { return fflush(file != NULL ? HostFile(file) : NULL); }
BIONIC(fflush)
size_t bionic_fwrite(const void* data, size_t size, size_t count, FILE* file) { return fwrite(data, size, count, HostFile(file)); }
BIONIC(fwrite)
size_t bionic_fread(void* data, size_t size, size_t count, FILE* file) { return fread(data, size, count, HostFile(file)); }
BIONIC(fread)
int bionic_fclose(FILE* file) { return fclose(HostFile(file)); }
BIONIC(fclose)
int bionic_fileno(FILE* file) { return fileno(HostFile(file)); }
BIONIC(fileno)

// -- same name, other meaning -------------------------------------------------------------------------------------------------------------

// bionic's returns an int and always fills the buffer (POSIX); glibc's function of this name returns a text.
int __xpg_strerror_r(int error, char* buffer, size_t size);
int bionic_strerror_r(int error, char* buffer, size_t size) { return __xpg_strerror_r(error, buffer, size); }
BIONIC(strerror_r)

// bionic numbers the names differently (bits/sysconf.h).
long bionic_sysconf(int name) {
  switch (name) {
    case 0x27:
    case 0x28:
      return sysconf(_SC_PAGESIZE);
    case 0x60:
      return sysconf(_SC_NPROCESSORS_CONF);
    case 0x61:
      return sysconf(_SC_NPROCESSORS_ONLN);
    case 0x62:
      return sysconf(_SC_PHYS_PAGES);
    case 0x63:
      return sysconf(_SC_AVPHYS_PAGES);
    default:
      errno = EINVAL;
      return -1;
  }
}
BIONIC(sysconf)

// A mutex has 40 bytes in bionic. glibc's uses as many, but on aarch64 it reserves 48 and clears them all here: the other 8 are somebody else's.
// (Condition variables, 48 bytes, and locks for readers and writers, 56, are equally large in both.)
enum { kBionicMutexBytes = 40 };
int bionic_pthread_mutex_init(void* mutex, const pthread_mutexattr_t* attributes) {
  pthread_mutex_t fresh;
  const int status = pthread_mutex_init(&fresh, attributes);
  if (status == 0) memcpy(mutex, &fresh, kBionicMutexBytes);
  return status;
}
BIONIC(pthread_mutex_init)
_Static_assert(sizeof(struct __pthread_mutex_s) == kBionicMutexBytes, "glibc uses no more of a mutex than bionic has");
_Static_assert(sizeof(pthread_cond_t) == 48 && sizeof(pthread_rwlock_t) == 56, "as large as bionic's");
