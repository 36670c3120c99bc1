package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The settings of a finished benchmark as its result keeps them: what was asked for, and what came of it.
 * Immutable.
 *
 * <p>Results of other tools may leave some of it out, so what is optional in the schema can be null here.
 */
public final class RunSettings {
  private final int numThreads;
  private final int warmup;
  private final int runs;
  private final Double minSeconds;
  private final String affinity;
  private final List<Integer> cpus;
  private final String activations;
  private final Long seed;
  private final String inputs;
  private final Integer agreementInputs;
  private final Boolean sustained;
  private final Double coolDownSeconds;
  private final Double settleMs;
  private final Boolean profile;
  private final Integer batch;

  private RunSettings(
      BenchmarkSettings s, int[] boundCpus, boolean fromSamples, int agreementInputs, boolean sustainedOn) {
    numThreads = s.numThreads();
    warmup = s.warmup();
    runs = s.runs();
    minSeconds = s.minSeconds();
    affinity = s.affinity().id();
    cpus = boundCpus == null ? null : Collections.unmodifiableList(toList(boundCpus));
    activations = s.activations().id();
    seed = s.seed();
    inputs = fromSamples ? "samples" : "random";
    this.agreementInputs = agreementInputs;
    sustained = sustainedOn;
    coolDownSeconds = (double) s.coolDownSeconds();
    settleMs = settleMs(s.numThreads());
    profile = s.profile();
    batch = 1;
  }

  private RunSettings(JsonFields json) throws FormatException {
    numThreads = (int) json.integer("num_threads");
    warmup = (int) json.integer("warmup");
    runs = (int) json.integer("runs");
    minSeconds = json.numberOrNull("min_seconds");
    batch = toInteger(json.integerOrNull("batch"));
    affinity = json.textOrNull("affinity");
    cpus = json.has("cpus") ? Collections.unmodifiableList(toList(json.sizes("cpus"))) : null;
    activations = json.textOrNull("activations");
    seed = json.integerOrNull("seed");
    inputs = json.textOrNull("inputs");
    agreementInputs = toInteger(json.integerOrNull("agreement_inputs"));
    sustained = json.flagOrNull("sustained");
    coolDownSeconds = json.numberOrNull("cool_down_s");
    settleMs = json.numberOrNull("settle_ms");
    profile = json.flagOrNull("profile");
  }

  /**
   * Settings as they were carried out.
   *
   * @param boundCpus the cores that the threads were bound to, or null if they were not
   * @param fromSamples whether the inputs were the model's sample images
   * @param agreementInputs number of inputs on which outputs were compared
   * @param sustainedOn whether sustained-performance mode was really on
   */
  static RunSettings of(
      BenchmarkSettings s, int[] boundCpus, boolean fromSamples, int agreementInputs, boolean sustainedOn) {
    return new RunSettings(s, boundCpus, fromSamples, agreementInputs, sustainedOn);
  }

  static RunSettings fromJson(JsonFields json) throws FormatException {
    return new RunSettings(json);
  }

  /** Threads of every path. */
  public int numThreads() {
    return numThreads;
  }

  /** Rounds before the timed ones. */
  public int warmup() {
    return warmup;
  }

  /** Timed rounds that were asked for. */
  public int runs() {
    return runs;
  }

  /** Seconds that the timed rounds went on at least, or null. */
  public Double minSeconds() {
    return minSeconds;
  }

  /** "all", "big" or "little", or null. */
  public String affinity() {
    return affinity;
  }

  /** Numbers of the cores that the threads were bound to; null if they were not bound. */
  public List<Integer> cpus() {
    return cpus;
  }

  /** "float32" or "dynamic_int8", or null. */
  public String activations() {
    return activations;
  }

  /** Seed of random inputs, or null. */
  public Long seed() {
    return seed;
  }

  /** "random" or "samples", or null. */
  public String inputs() {
    return inputs;
  }

  /** Number of inputs behind {@link PathResult#top1Agreement}, or null. */
  public Integer agreementInputs() {
    return agreementInputs;
  }

  /** Whether sustained-performance mode was on, or null. */
  public Boolean sustained() {
    return sustained;
  }

  /** Seconds of rest before the first run, or null. */
  public Double coolDownSeconds() {
    return coolDownSeconds;
  }

  /** Milliseconds between two runs, for the threads of the one before to fall asleep; or null. */
  public Double settleMs() {
    return settleMs;
  }

  /** The same for this number of threads: a single one leaves nobody behind. */
  static double settleMs(int numThreads) {
    return numThreads > 1 ? 30 : 0;
  }

  /** Whether the delegate's node counters were read, or null. */
  public Boolean profile() {
    return profile;
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    map.put("num_threads", numThreads);
    map.put("warmup", warmup);
    map.put("runs", runs);
    putIfKnown(map, "min_seconds", minSeconds);
    map.put("interleaved", true);
    putIfKnown(map, "batch", batch);
    putIfKnown(map, "affinity", affinity);
    map.put("cpus", cpus);
    putIfKnown(map, "activations", activations);
    putIfKnown(map, "seed", seed);
    putIfKnown(map, "inputs", inputs);
    putIfKnown(map, "agreement_inputs", agreementInputs);
    putIfKnown(map, "sustained", sustained);
    putIfKnown(map, "cool_down_s", coolDownSeconds);
    putIfKnown(map, "settle_ms", settleMs);
    putIfKnown(map, "profile", profile);
    return map;
  }

  private static void putIfKnown(Map<String, Object> map, String key, Object value) {
    if (value != null) {
      map.put(key, value);
    }
  }

  private static Integer toInteger(Long value) {
    return value == null ? null : Integer.valueOf((int) (long) value);
  }

  private static List<Integer> toList(int[] values) {
    List<Integer> list = new ArrayList<Integer>();
    for (int value : values) {
      list.add(value);
    }
    return list;
  }
}
