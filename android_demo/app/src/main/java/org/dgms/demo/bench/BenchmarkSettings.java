package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;

/** What to measure and how. Immutable; made by {@link Builder}, which checks every value. */
public final class BenchmarkSettings {
  /** Most threads that a path can be given. */
  public static final int MAX_THREADS = 64;

  /** Most rounds, warm-up or timed: a result keeps every run, and has to fit a phone's memory. */
  public static final int MAX_ROUNDS = 100000;

  /** Most seconds that the timed rounds can be asked to go on for: a day. */
  public static final int MAX_MIN_SECONDS = 86400;

  /** Most seconds of rest before the first run: an hour. */
  public static final int MAX_COOL_DOWN_SECONDS = 3600;

  private final List<PathKind> paths;
  private final int numThreads;
  private final Affinity affinity;
  private final int warmup;
  private final int runs;
  private final double minSeconds;
  private final Activations activations;
  private final boolean profile;
  private final boolean sustained;
  private final int coolDownSeconds;
  private final long seed;

  private BenchmarkSettings(Builder b) {
    paths = Collections.unmodifiableList(new ArrayList<PathKind>(b.paths));
    numThreads = b.numThreads;
    affinity = b.affinity;
    warmup = b.warmup;
    runs = b.runs;
    minSeconds = b.minSeconds;
    activations = b.activations;
    profile = b.profile;
    sustained = b.sustained;
    coolDownSeconds = b.coolDownSeconds;
    seed = b.seed;
  }

  /** A builder with the defaults: every path, 1 thread, 5 warm-up and 50 timed rounds. */
  public static Builder builder() {
    return new Builder();
  }

  /** A builder that starts from these settings. */
  public Builder toBuilder() {
    return new Builder()
        .setPaths(paths)
        .setNumThreads(numThreads)
        .setAffinity(affinity)
        .setWarmup(warmup)
        .setRuns(runs)
        .setMinSeconds(minSeconds)
        .setActivations(activations)
        .setProfile(profile)
        .setSustained(sustained)
        .setCoolDownSeconds(coolDownSeconds)
        .setSeed(seed);
  }

  /**
   * The paths in the order of the first round; {@link PathKind#DENSE_XNNPACK} is left out for models without
   * a twin.
   */
  public List<PathKind> paths() {
    return paths;
  }

  /** Threads of every path, the caller's included: 1 to {@link #MAX_THREADS}. */
  public int numThreads() {
    return numThreads;
  }

  /** The cores that the runner's thread and its pools are bound to. */
  public Affinity affinity() {
    return affinity;
  }

  /** Untimed rounds before the timed ones (each path's first run is timed apart), at least 0. */
  public int warmup() {
    return warmup;
  }

  /** Timed rounds, at least 1; each round runs every path once. */
  public int runs() {
    return runs;
  }

  /**
   * Seconds that the timed rounds go on at least: rounds beyond {@link #runs()} are added until then, up to
   * {@link #MAX_ROUNDS} in all. 0: no minimum.
   */
  public double minSeconds() {
    return minSeconds;
  }

  /** How the delegate computes a float model. */
  public Activations activations() {
    return activations;
  }

  /** Whether the delegate's per-node counters are read, in extra runs after the timed ones. */
  public boolean profile() {
    return profile;
  }

  /** Whether the device's sustained-performance mode is asked for while the benchmark runs. */
  public boolean sustained() {
    return sustained;
  }

  /** Seconds to wait before the first run, at least 0. */
  public int coolDownSeconds() {
    return coolDownSeconds;
  }

  /** Seed of random inputs (models without samples). */
  public long seed() {
    return seed;
  }

  /**
   * Collects and checks the settings; every setter throws IllegalArgumentException where its rule is broken.
   */
  public static final class Builder {
    private List<PathKind> paths = Arrays.asList(PathKind.values());
    private int numThreads = 1;
    private Affinity affinity = Affinity.ALL;
    private int warmup = 5;
    private int runs = 50;
    private double minSeconds = 0;
    private Activations activations = Activations.FLOAT32;
    private boolean profile = false;
    private boolean sustained = false;
    private int coolDownSeconds = 0;
    private long seed = 0;

    Builder() {}

    /** At least one path, each once. */
    public Builder setPaths(List<PathKind> value) {
      if (value.isEmpty() || new LinkedHashSet<PathKind>(value).size() != value.size()) {
        throw new IllegalArgumentException(
            "paths must name at least one path, each once. Received: " + value);
      }
      paths = new ArrayList<PathKind>(value);
      return this;
    }

    /** Comma-separated ids, such as {@code delegate,xnnpack}. */
    public Builder setPaths(String ids) {
      List<PathKind> kinds = new ArrayList<PathKind>();
      for (String id : ids.split(",", -1)) {
        kinds.add(PathKind.of(id.trim()));
      }
      return setPaths(kinds);
    }

    /** 1 to {@link #MAX_THREADS}. */
    public Builder setNumThreads(int value) {
      numThreads = inRange("numThreads", value, 1, MAX_THREADS);
      return this;
    }

    /** The cores to use. */
    public Builder setAffinity(Affinity value) {
      affinity = notNull("affinity", value);
      return this;
    }

    /** Rounds, 0 to {@link #MAX_ROUNDS}. */
    public Builder setWarmup(int value) {
      warmup = inRange("warmup", value, 0, MAX_ROUNDS);
      return this;
    }

    /** Rounds, 1 to {@link #MAX_ROUNDS}. */
    public Builder setRuns(int value) {
      runs = inRange("runs", value, 1, MAX_ROUNDS);
      return this;
    }

    /** Seconds, 0 to {@link #MAX_MIN_SECONDS}. */
    public Builder setMinSeconds(double value) {
      if (!(value >= 0 && value <= MAX_MIN_SECONDS)) {
        throw new IllegalArgumentException(
            "minSeconds must be from 0 to " + MAX_MIN_SECONDS + ". Received: " + value);
      }
      minSeconds = value;
      return this;
    }

    /** How the delegate computes a float model. */
    public Builder setActivations(Activations value) {
      activations = notNull("activations", value);
      return this;
    }

    /** Whether to read the delegate's per-node counters. */
    public Builder setProfile(boolean value) {
      profile = value;
      return this;
    }

    /** Whether to ask for sustained-performance mode. */
    public Builder setSustained(boolean value) {
      sustained = value;
      return this;
    }

    /** Seconds, 0 to {@link #MAX_COOL_DOWN_SECONDS}. */
    public Builder setCoolDownSeconds(int value) {
      coolDownSeconds = inRange("coolDownSeconds", value, 0, MAX_COOL_DOWN_SECONDS);
      return this;
    }

    /** Any number. */
    public Builder setSeed(long value) {
      seed = value;
      return this;
    }

    /** The settings. */
    public BenchmarkSettings build() {
      return new BenchmarkSettings(this);
    }

    private static int inRange(String name, int value, int low, int high) {
      if (value < low || value > high) {
        throw new IllegalArgumentException(
            name + " must be from " + low + " to " + high + ". Received: " + value);
      }
      return value;
    }

    private static <T> T notNull(String name, T value) {
      if (value == null) {
        throw new IllegalArgumentException(name + " must be given. Received: null");
      }
      return value;
    }
  }
}
