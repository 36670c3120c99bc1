package org.dgms.demo.bench;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * One of the DGMS delegate's own counters: a layer that it runs (the runtime's other nodes have none).
 * Immutable.
 */
public final class NodeTime {
  private final String name;
  private final String kernel;
  private final long calls;
  private final long macs;
  private final long packedBytes;
  private final double totalMs;
  private final double fastestMs;

  NodeTime(
      String name,
      String kernel,
      long calls,
      long macs,
      long packedBytes,
      double totalMs,
      double fastestMs) {
    this.name = name;
    this.kernel = kernel;
    this.calls = calls;
    this.macs = macs;
    this.packedBytes = packedBytes;
    this.totalMs = totalMs;
    this.fastestMs = fastestMs;
  }

  /** The layer's name in the file. */
  public String name() {
    return name;
  }

  /** The kernel that runs it. */
  public String kernel() {
    return kernel;
  }

  /** How often it ran. */
  public long calls() {
    return calls;
  }

  /** Multiplications with addition in one call. */
  public long macs() {
    return macs;
  }

  /** Memory of its packed weights, in bytes. */
  public long packedBytes() {
    return packedBytes;
  }

  /** Milliseconds of all calls together. */
  public double totalMs() {
    return totalMs;
  }

  /** Milliseconds of the fastest call. */
  public double fastestMs() {
    return fastestMs;
  }

  /** Milliseconds of a call on average; 0 if it never ran. */
  public double meanMs() {
    return calls == 0 ? 0 : totalMs / calls;
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    map.put("name", name);
    map.put("kernel", kernel);
    map.put("calls", calls);
    map.put("macs", macs);
    map.put("packed_bytes", packedBytes);
    map.put("total_ms", totalMs);
    map.put("fastest_ms", fastestMs);
    return map;
  }

  static NodeTime fromJson(JsonFields json) throws FormatException {
    return new NodeTime(
        json.text("name"),
        json.text("kernel"),
        json.integer("calls"),
        json.integer("macs"),
        json.integer("packed_bytes"),
        json.number("total_ms"),
        json.number("fastest_ms"));
  }
}
