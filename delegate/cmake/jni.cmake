# Finds the JNI headers of a desktop JDK: $JAVA_HOME, else the JDK that `javac` on the PATH belongs to.
# Sets DGMS_JNI_INCLUDES. CMake's own FindJNI also wants AWT's libraries, which headless JDKs lack, and in a cross build
# it looks for a JDK of the target; the headers are the same for all Linux targets.
set(jdk_hints $ENV{JAVA_HOME})
find_program(DGMS_JAVAC javac NO_CMAKE_FIND_ROOT_PATH)
if(DGMS_JAVAC)
  file(REAL_PATH ${DGMS_JAVAC} javac_file)
  get_filename_component(jdk_bin ${javac_file} DIRECTORY)
  get_filename_component(jdk_home ${jdk_bin} DIRECTORY)
  list(APPEND jdk_hints ${jdk_home})
endif()
find_path(DGMS_JNI_INCLUDE jni.h HINTS ${jdk_hints} PATH_SUFFIXES include NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
if(NOT DGMS_JNI_INCLUDE)
  message(FATAL_ERROR "DGMS_BUILD_JNI needs the headers of a JDK: set JAVA_HOME, or have its javac on the PATH. "
                      "Received: no include/jni.h in '${jdk_hints}'")
endif()
set(DGMS_JNI_INCLUDES ${DGMS_JNI_INCLUDE} ${DGMS_JNI_INCLUDE}/linux)
