package org.dgms.demo.bench;

/**
 * What a benchmark needs to know of the system around it; the app and the desktop command line implement it.
 */
public interface Environment {
  /** What the benchmark runs on. */
  MachineInfo machine();

  /** The cores. */
  CpuTopology cpuTopology();

  /** Version of the program, for the result's header. */
  String toolVersion();

  /**
   * The thermal status now: none, light, moderate, severe, critical, emergency or shutdown (see {@link
   * Statistics#thermalStatusName}).
   *
   * @return null where the system does not tell
   */
  String thermalStatus();

  /**
   * Asks for sustained-performance mode, or ends it.
   *
   * @return whether the mode is on now; false where the device has none
   */
  boolean setSustainedPerformance(boolean on);

  /** Writes one line to the system's log. May be called from any thread. */
  void log(String line);
}
