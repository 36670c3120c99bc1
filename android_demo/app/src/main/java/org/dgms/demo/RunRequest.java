package org.dgms.demo;

import android.content.Context;
import android.content.Intent;
import android.os.Bundle;
import java.util.Arrays;
import java.util.List;
import org.dgms.demo.bench.Activations;
import org.dgms.demo.bench.Affinity;
import org.dgms.demo.bench.BenchmarkSettings;
import org.dgms.demo.bench.PathKind;

/**
 * What an intent to {@link RunActivity} asks for. The extras are the app's interface for automation
 * ({@code adb shell am start -n org.dgms.demo/.RunActivity --es model NAME --ei runs 50 ...}) and
 * what {@link MainActivity} sends, so there is one way in. Extras that are left out have the
 * defaults of {@link BenchmarkSettings}, not what was last chosen on the screen: a script means the
 * same on every phone.
 */
final class RunRequest {
  private static final String MODEL = "model";
  private static final String PATHS = "paths";
  private static final String THREADS = "threads";
  private static final String AFFINITY = "affinity";
  private static final String WARMUP = "warmup";
  private static final String RUNS = "runs";
  private static final String MIN_SECONDS = "min_seconds";
  private static final String ACTIVATIONS = "activations";
  private static final String PROFILE = "profile";
  private static final String SUSTAINED = "sustained";
  private static final String COOL_DOWN = "cool_down";
  private static final String OUTPUT = "output";
  private static final String FINISH = "finish";
  private static final List<String> EXTRAS =
      Arrays.asList(
          MODEL,
          PATHS,
          THREADS,
          AFFINITY,
          WARMUP,
          RUNS,
          MIN_SECONDS,
          ACTIVATIONS,
          PROFILE,
          SUSTAINED,
          COOL_DOWN,
          OUTPUT,
          FINISH);

  /** Name of a model in one of the app's folders, or the path of a file. */
  final String model;

  /** How to run it. */
  final BenchmarkSettings settings;

  /** Name of the JSON file, or null for one made of model and date. */
  final String output;

  /** Whether the activity closes itself at the end and no result is shown. */
  final boolean finish;

  RunRequest(String model, BenchmarkSettings settings, String output, boolean finish) {
    this.model = model;
    this.settings = settings;
    this.output = output;
    this.finish = finish;
  }

  /** An intent with this request's extras. */
  Intent toIntent(Context context) {
    StringBuilder paths = new StringBuilder();
    for (PathKind kind : settings.paths()) {
      paths.append(paths.length() == 0 ? "" : ",").append(kind.id());
    }
    Intent intent =
        new Intent(context, RunActivity.class)
            .putExtra(MODEL, model)
            .putExtra(PATHS, paths.toString())
            .putExtra(THREADS, settings.numThreads())
            .putExtra(AFFINITY, settings.affinity().id())
            .putExtra(WARMUP, settings.warmup())
            .putExtra(RUNS, settings.runs())
            .putExtra(MIN_SECONDS, (float) settings.minSeconds())
            .putExtra(ACTIVATIONS, settings.activations().id())
            .putExtra(PROFILE, settings.profile())
            .putExtra(SUSTAINED, settings.sustained())
            .putExtra(COOL_DOWN, settings.coolDownSeconds())
            .putExtra(FINISH, finish);
    if (output != null) {
      intent.putExtra(OUTPUT, output);
    }
    return intent;
  }

  /**
   * Reads the extras.
   *
   * @throws IllegalArgumentException an extra is unknown, of the wrong type or out of range
   */
  static RunRequest fromIntent(Intent intent) {
    Bundle extras = intent.getExtras() == null ? new Bundle() : intent.getExtras();
    for (String key : extras.keySet()) {
      // Launchers and the system add keys of their own, all with a dot.
      if (!EXTRAS.contains(key) && key.indexOf('.') < 0) {
        throw new IllegalArgumentException("the extras are " + EXTRAS + ". Received: " + key);
      }
    }
    String model = value(extras, MODEL, String.class, "--es", null);
    if (model == null || model.isEmpty()) {
      throw new IllegalArgumentException(
          "the extra model must name a model or a file. Received: " + model);
    }
    String output = value(extras, OUTPUT, String.class, "--es", null);
    if (output != null && !output.matches("[A-Za-z0-9][A-Za-z0-9._-]*\\.json")) {
      throw new IllegalArgumentException(
          "the extra output must be a file name of letters, digits, . _ - that ends in .json."
              + " Received: "
              + output);
    }
    return new RunRequest(
        model, settings(extras), output, value(extras, FINISH, Boolean.class, "--ez", false));
  }

  private static BenchmarkSettings settings(Bundle extras) {
    BenchmarkSettings defaults = BenchmarkSettings.builder().build();
    BenchmarkSettings.Builder builder =
        defaults.toBuilder()
            .setNumThreads(value(extras, THREADS, Integer.class, "--ei", defaults.numThreads()))
            .setAffinity(
                Affinity.of(
                    value(extras, AFFINITY, String.class, "--es", defaults.affinity().id())))
            .setWarmup(value(extras, WARMUP, Integer.class, "--ei", defaults.warmup()))
            .setRuns(value(extras, RUNS, Integer.class, "--ei", defaults.runs()))
            .setMinSeconds(
                value(extras, MIN_SECONDS, Float.class, "--ef", (float) defaults.minSeconds()))
            .setActivations(
                Activations.of(
                    value(extras, ACTIVATIONS, String.class, "--es", defaults.activations().id())))
            .setProfile(value(extras, PROFILE, Boolean.class, "--ez", defaults.profile()))
            .setSustained(value(extras, SUSTAINED, Boolean.class, "--ez", defaults.sustained()))
            .setCoolDownSeconds(
                value(extras, COOL_DOWN, Integer.class, "--ei", defaults.coolDownSeconds()));
    String paths = value(extras, PATHS, String.class, "--es", null);
    return (paths == null ? builder : builder.setPaths(paths)).build();
  }

  /** An extra of that type; Bundle's own getters would take a wrong type for a missing one. */
  @SuppressWarnings("deprecation") // Bundle.get(key, class) is API 33.
  private static <T> T value(Bundle extras, String key, Class<T> type, String option, T missing) {
    Object value = extras.get(key);
    if (value == null) {
      return missing;
    }
    if (!type.isInstance(value)) {
      throw new IllegalArgumentException(
          "the extra "
              + key
              + " is given by "
              + option
              + " ("
              + type.getSimpleName()
              + "). Received: "
              + value
              + " ("
              + value.getClass().getSimpleName()
              + ")");
    }
    return type.cast(value);
  }
}
