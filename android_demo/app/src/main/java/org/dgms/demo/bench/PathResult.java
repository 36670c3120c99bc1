package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * One path's figures, or why it has none. Times are in milliseconds. Immutable.
 *
 * <p>The figures of a failed path do not exist: asking for them throws IllegalStateException.
 */
public final class PathResult {
  private final PathKind kind;
  private final String error;
  private final String description;
  private final Double initMs;
  private final double firstMs;
  private final double[] runsMs;
  private final double[] startsMs;
  private final Integer delegatedNodes;
  private final DelegateClaim claim;
  private final List<NodeTime> counters;
  private final Double maxAbsDifference;
  private final Double top1Agreement;
  private final Long rssGrowthBytes;
  private final List<Classification> samples;

  private PathResult(Builder b) {
    kind = b.kind;
    error = b.error;
    description = b.description;
    initMs = b.initMs;
    firstMs = b.firstMs;
    runsMs = b.runsMs;
    startsMs = b.startsMs;
    delegatedNodes = b.delegatedNodes;
    claim = b.claim;
    counters = b.counters == null ? null : Collections.unmodifiableList(new ArrayList<NodeTime>(b.counters));
    maxAbsDifference = b.maxAbsDifference;
    top1Agreement = b.top1Agreement;
    rssGrowthBytes = b.rssGrowthBytes;
    samples = Collections.unmodifiableList(new ArrayList<Classification>(b.samples));
  }

  /** Which path it is. */
  public PathKind kind() {
    return kind;
  }

  /** Why the path could not be run to the end, or null if it was. */
  public String error() {
    return error;
  }

  /** Whether the path has figures. */
  public boolean succeeded() {
    return error == null;
  }

  /** Who runs the path with how many threads, in words; may be null for results of other tools. */
  public String description() {
    return description;
  }

  /** Making the interpreter with its delegates and allocating its tensors; null if that failed. */
  public Double initMs() {
    return initMs;
  }

  /** The first run. */
  public double firstMs() {
    requireFigures();
    return firstMs;
  }

  /** The arithmetic mean of the timed runs. */
  public double meanMs() {
    return Statistics.mean(figures());
  }

  /** The sample standard deviation of the timed runs; 0 for a single one. */
  public double sdMs() {
    return Statistics.standardDeviation(figures());
  }

  /** The fastest timed run. */
  public double minMs() {
    return Statistics.minimum(figures());
  }

  /** The median of the timed runs. */
  public double medianMs() {
    return Statistics.median(figures());
  }

  /** The 90th percentile of the timed runs. */
  public double p90Ms() {
    return Statistics.percentile(figures(), 90);
  }

  /** The 99th percentile of the timed runs. */
  public double p99Ms() {
    return Statistics.percentile(figures(), 99);
  }

  /** Duration of every timed run, in order. A copy. */
  public double[] runsMs() {
    return figures().clone();
  }

  /** When each timed run began, counted from the beginning of the first timed round. A copy. */
  public double[] startsMs() {
    requireFigures();
    return startsMs.clone();
  }

  /**
   * Nodes of the DGMS delegate in the graph (one may hold several layers); 0 for other paths, null if
   * unknown.
   */
  public Integer delegatedNodes() {
    return delegatedNodes;
  }

  /** What the DGMS delegate took over; null for other paths. */
  public DelegateClaim claim() {
    return claim;
  }

  /**
   * The DGMS delegate's own counters, from runs apart from the timed ones; null if they were not asked for.
   */
  public List<NodeTime> counters() {
    return counters;
  }

  /**
   * Largest absolute difference of an output element from the reference's (TFLite's own kernels, same file,
   * same inputs; for the dense twin too, so that the error of weight sharing is in it). In the output's own
   * unit: steps for int8.
   *
   * @return null where outputs are not finite or not comparable
   */
  public Double maxAbsDifference() {
    return maxAbsDifference;
  }

  /**
   * Share of the inputs on which the first output is largest at the same place as the reference's: 0 to 1, or
   * null.
   */
  public Double top1Agreement() {
    return top1Agreement;
  }

  /**
   * Growth of the process's resident memory, in bytes, while this path was opened and run for the first time.
   * What earlier paths freed can hide a part of it; negative where more was freed than taken. Null if
   * unknown.
   */
  public Long rssGrowthBytes() {
    return rssGrowthBytes;
  }

  /** What the path made of the model's sample images; empty if it has none. */
  public List<Classification> samples() {
    return samples;
  }

  private double[] figures() {
    requireFigures();
    return runsMs;
  }

  private void requireFigures() {
    if (error != null) {
      throw new IllegalStateException("the path " + kind.id() + " has no times, because it failed: " + error);
    }
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    map.put("name", kind.id());
    putIfKnown(map, "error", error);
    putIfKnown(map, "description", description);
    putIfKnown(map, "init_ms", initMs);
    if (succeeded()) {
      map.put("first_ms", firstMs);
      map.put("mean_ms", meanMs());
      map.put("sd_ms", sdMs());
      map.put("min_ms", minMs());
      map.put("median_ms", medianMs());
      map.put("p90_ms", p90Ms());
      map.put("p99_ms", p99Ms());
      map.put("runs_ms", toList(runsMs));
      map.put("starts_ms", toList(startsMs));
      map.put("delegated_nodes", delegatedNodes);
    }
    putIfKnown(map, "claimed", claim == null ? null : claim.toMap());
    if (counters != null) {
      List<Object> list = new ArrayList<Object>();
      for (NodeTime counter : counters) {
        list.add(counter.toMap());
      }
      map.put("counters", list);
    }
    if (succeeded()) {
      map.put("max_abs_difference", maxAbsDifference);
      map.put("top1_agreement", top1Agreement);
    }
    if (rssGrowthBytes != null) {
      map.put("memory", Collections.singletonMap("rss_growth_bytes", rssGrowthBytes));
    }
    if (!samples.isEmpty()) {
      List<Object> list = new ArrayList<Object>();
      for (Classification sample : samples) {
        list.add(sample.toMap());
      }
      map.put("samples", list);
    }
    return map;
  }

  private static void putIfKnown(Map<String, Object> map, String key, Object value) {
    if (value != null) {
      map.put(key, value);
    }
  }

  private static List<Double> toList(double[] values) {
    List<Double> list = new ArrayList<Double>(values.length);
    for (double value : values) {
      list.add(value);
    }
    return list;
  }

  static PathResult fromJson(JsonFields json) throws FormatException {
    Builder b;
    try {
      b = new Builder(PathKind.of(json.text("name")));
    } catch (IllegalArgumentException e) {
      throw new FormatException(json.place("name") + ": " + e.getMessage(), e);
    }
    b.error = json.textOrNull("error");
    b.description = json.textOrNull("description");
    b.initMs = json.numberOrNull("init_ms");
    if (b.error == null) {
      b.firstMs = json.number("first_ms");
      b.runsMs = json.numbers("runs_ms");
      b.startsMs = json.numbers("starts_ms");
      if (b.runsMs.length == 0 || b.runsMs.length != b.startsMs.length) {
        throw new FormatException(
            json.place("runs_ms") + " must hold at least one time, and starts_ms as many. Received: "
                + b.runsMs.length + " and " + b.startsMs.length);
      }
      Long nodes = json.integerOrNull("delegated_nodes");
      b.delegatedNodes = nodes == null ? null : Integer.valueOf((int) (long) nodes);
      b.maxAbsDifference = json.numberOrNull("max_abs_difference");
      b.top1Agreement = json.numberOrNull("top1_agreement");
    }
    b.claim = json.has("claimed") ? DelegateClaim.fromJson(json.object("claimed")) : null;
    if (json.has("counters")) {
      b.counters = new ArrayList<NodeTime>();
      for (JsonFields counter : json.objects("counters")) {
        b.counters.add(NodeTime.fromJson(counter));
      }
    }
    b.rssGrowthBytes = json.has("memory") ? json.object("memory").integerOrNull("rss_growth_bytes") : null;
    for (JsonFields sample : json.objects("samples")) {
      b.samples.add(Classification.fromJson(sample));
    }
    return b.build();
  }

  /** Collects the figures while a path runs. */
  static final class Builder {
    final PathKind kind;
    String error;
    String description;
    Double initMs;
    double firstMs;
    double[] runsMs = new double[0];
    double[] startsMs = new double[0];
    Integer delegatedNodes;
    DelegateClaim claim;
    List<NodeTime> counters;
    Double maxAbsDifference;
    Double top1Agreement;
    Long rssGrowthBytes;
    List<Classification> samples = new ArrayList<Classification>();

    Builder(PathKind kind) {
      this.kind = kind;
    }

    PathResult build() {
      return new PathResult(this);
    }
  }
}
