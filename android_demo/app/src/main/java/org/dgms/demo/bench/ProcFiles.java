package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;

/** What Linux and Android tell in /proc; unknown values are null or "", never an exception. */
final class ProcFiles {
  private static final File CPUINFO = new File("/proc/cpuinfo");
  private static final File MEMINFO = new File("/proc/meminfo");
  private static final File STATUS = new File("/proc/self/status");

  private ProcFiles() {}

  /** Resident memory of this process now, in bytes. */
  static Long residentBytes() {
    return kilobytes(STATUS, "VmRSS");
  }

  /** The most resident memory that this process has had so far, in bytes. */
  static Long peakResidentBytes() {
    return kilobytes(STATUS, "VmHWM");
  }

  /** Main memory of the machine, in bytes. */
  static Long memoryBytes() {
    return kilobytes(MEMINFO, "MemTotal");
  }

  /** The processor's name: "model name" on x86, "Hardware" on older ARM kernels, else "". */
  static String processorName() {
    String name = field(CPUINFO, "model name");
    if (name == null) {
      name = field(CPUINFO, "Hardware");
    }
    return name == null ? "" : name;
  }

  private static Long kilobytes(File file, String key) {
    String value = field(file, key);
    if (value == null || !value.matches("[0-9]+ kB")) {
      return null;
    }
    return Long.parseLong(value.substring(0, value.length() - 3)) * 1024;
  }

  /** The value of the first line "key : value". */
  private static String field(File file, String key) {
    String text;
    try {
      text = Files.readText(file);
    } catch (IOException e) {
      return null; // not Linux, or hidden from apps
    }
    for (String line : text.split("\n")) {
      int colon = line.indexOf(':');
      if (colon > 0 && line.substring(0, colon).trim().equals(key)) {
        return line.substring(colon + 1).trim();
      }
    }
    return null;
  }
}
