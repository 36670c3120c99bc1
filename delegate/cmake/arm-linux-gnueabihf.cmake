# Cross build for 32-bit ARM Linux (ARMv7) with Debian's g++-arm-linux-gnueabihf:
#   cmake -S delegate -B build/arm -G Ninja -DCMAKE_TOOLCHAIN_FILE=delegate/cmake/arm-linux-gnueabihf.cmake
# Programs built so run under `qemu-arm -L /usr/arm-linux-gnueabihf` (CMake's ctest does it through CMAKE_CROSSCOMPILING_EMULATOR).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7-a)
set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_CXX_COMPILER arm-linux-gnueabihf-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-arm -L /usr/arm-linux-gnueabihf)
# Look for libraries and headers in the target's folders only, for programs on the host.
set(CMAKE_FIND_ROOT_PATH /usr/arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
