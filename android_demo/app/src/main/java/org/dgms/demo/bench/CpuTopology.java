package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** The cores of this machine and how fast each can get, from sysfs. Immutable. */
public final class CpuTopology {
  /** Where Linux and Android describe the cores. */
  public static final File SYSFS = new File("/sys/devices/system/cpu");

  /** By core number: highest frequency in kHz, or null if unknown. */
  private final TreeMap<Integer, Long> maxKhz;

  private CpuTopology(TreeMap<Integer, Long> maxKhz) {
    this.maxKhz = maxKhz;
  }

  /**
   * Reads the description below a folder; what cannot be read is unknown, and at least one core is assumed.
   *
   * @param root {@link #SYSFS}, or a folder like it
   */
  public static CpuTopology read(File root) {
    TreeMap<Integer, Long> cores = new TreeMap<Integer, Long>();
    for (int core : parseRanges(readLine(new File(root, "possible")))) {
      cores.put(core, readKhz(new File(root, "cpu" + core + "/cpufreq/cpuinfo_max_freq")));
    }
    if (cores.isEmpty()) {
      for (int core = 0; core < Runtime.getRuntime().availableProcessors(); core++) {
        cores.put(core, null);
      }
    }
    return new CpuTopology(cores);
  }

  /** How many logical cores there are. */
  public int cores() {
    return maxKhz.size();
  }

  /** Whether the cores are of more than one kind, so that big and little mean something. */
  public boolean isHeterogeneous() {
    return slowestKhz() != null && !Collections.max(maxKhz.values()).equals(slowestKhz());
  }

  /**
   * The numbers of the cores that a choice stands for. On a machine with cores of one kind, or whose
   * frequencies are unknown, every choice stands for all of them.
   */
  public int[] cpus(Affinity affinity) {
    Long slowest = isHeterogeneous() ? slowestKhz() : null;
    List<Integer> chosen = new ArrayList<Integer>();
    for (Map.Entry<Integer, Long> core : maxKhz.entrySet()) {
      boolean little = slowest != null && core.getValue().equals(slowest);
      if (affinity == Affinity.ALL || slowest == null || little == (affinity == Affinity.LITTLE)) {
        chosen.add(core.getKey());
      }
    }
    int[] cpus = new int[chosen.size()];
    for (int i = 0; i < cpus.length; i++) {
      cpus[i] = chosen.get(i);
    }
    return cpus;
  }

  /** Highest frequency of each core in MHz, by core number; null where unknown. */
  public List<Double> maxMhz() {
    List<Double> mhz = new ArrayList<Double>();
    for (Long khz : maxKhz.values()) {
      mhz.add(khz == null ? null : Double.valueOf(khz / 1000.0));
    }
    return mhz;
  }

  /** The cores in words, fastest first, such as {@code 1 x 3000 MHz, 3 x 2500 MHz, 4 x 1800 MHz}. */
  public String describe() {
    if (slowestKhz() == null) {
      return cores() + " x unknown frequency";
    }
    TreeMap<Long, Integer> kinds = new TreeMap<Long, Integer>(Collections.<Long>reverseOrder());
    for (Long khz : maxKhz.values()) {
      Integer count = kinds.get(khz);
      kinds.put(khz, count == null ? 1 : count + 1);
    }
    StringBuilder text = new StringBuilder();
    for (Map.Entry<Long, Integer> kind : kinds.entrySet()) {
      text.append(text.length() == 0 ? "" : ", ").append(kind.getValue()).append(" x ");
      text.append(Math.round(kind.getKey() / 1000.0)).append(" MHz");
    }
    return text.toString();
  }

  /** The least of the highest frequencies, or null where one is unknown. */
  private Long slowestKhz() {
    return maxKhz.containsValue(null) ? null : Collections.min(maxKhz.values());
  }

  /** Core numbers of a text such as {@code 0-3,6}; none for any other text. */
  static List<Integer> parseRanges(String text) {
    List<Integer> cores = new ArrayList<Integer>();
    if (text == null || !text.matches("[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*")) {
      return cores;
    }
    for (String range : text.split(",")) {
      String[] ends = range.split("-");
      int last = Integer.parseInt(ends[ends.length - 1]);
      for (int core = Integer.parseInt(ends[0]); core <= last; core++) {
        cores.add(core);
      }
    }
    return cores;
  }

  private static Long readKhz(File file) {
    String text = readLine(file);
    return text != null && text.matches("[1-9][0-9]{0,11}") ? Long.valueOf(text) : null;
  }

  private static String readLine(File file) {
    try {
      return Files.readText(file).trim();
    } catch (IOException e) {
      return null; // the kernel does not tell
    }
  }
}
