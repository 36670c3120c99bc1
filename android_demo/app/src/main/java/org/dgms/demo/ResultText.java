package org.dgms.demo;

import android.content.Context;
import android.text.TextUtils;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.Classification;
import org.dgms.demo.bench.ModelFileInfo;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.PathResult;
import org.dgms.demo.bench.RunSettings;

/** A result in words. */
final class ResultText {
  private final Context context;
  private final BenchmarkResult result;
  private final Locale locale;

  ResultText(Context context, BenchmarkResult result) {
    this.context = context;
    this.result = result;
    locale = context.getResources().getConfiguration().getLocales().get(0);
  }

  /** The delegate's median over that of the path it is to beat, or null where one is missing. */
  Double ratio() {
    PathKind peer = result.peer();
    return peer == null ? null : result.ratio(PathKind.DELEGATE, peer);
  }

  /** What came out, in one sentence. */
  String headline() {
    Double ratio = ratio();
    if (ratio != null) {
      return context.getString(
          R.string.headline,
          Formats.ratio(ratio, locale),
          PathStyle.inSentence(context, result.peer()));
    }
    PathResult fastest = null;
    for (PathResult path : result.paths()) {
      if (path.succeeded() && (fastest == null || path.medianMs() < fastest.medianMs())) {
        fastest = path;
      }
    }
    if (fastest == null) {
      return context.getString(R.string.headline_nothing);
    }
    String name = PathStyle.name(context, fastest.kind());
    String median = Formats.ms(fastest.medianMs(), locale);
    PathResult delegate = result.path(PathKind.DELEGATE);
    return delegate == null || delegate.succeeded()
        ? context.getString(R.string.headline_without_peer, name, median)
        : context.getString(R.string.headline_delegate_failed, name, median);
  }

  /** Model, device and date. */
  String subtitle() {
    return context.getString(
        R.string.subtitle,
        result.model().title(),
        result.machine().name(),
        Formats.date(context, result.created()));
  }

  /** Why the figures are to be read with care, or null. */
  String throttled() {
    if (!Boolean.TRUE.equals(result.throttled())) {
      return null;
    }
    return context.getString(R.string.throttled, heat());
  }

  /** Heat before and after, and the common drift. */
  String heat() {
    String drift =
        result.drift() == null
            ? context.getString(R.string.drift_unknown)
            : context.getString(R.string.drift, Formats.change(result.drift(), locale));
    if (result.thermalBefore() == null && result.thermalAfter() == null) {
      return context.getString(R.string.heat_unknown, drift);
    }
    return context.getString(
        R.string.heat, known(result.thermalBefore()), known(result.thermalAfter()), drift);
  }

  private String known(String status) {
    return status == null ? context.getString(R.string.unknown) : status;
  }

  /** The paths that failed, each with its reason; null if none did. */
  String errors() {
    StringBuilder words = new StringBuilder();
    for (PathResult path : result.paths()) {
      if (!path.succeeded()) {
        words.append(words.length() == 0 ? "" : "\n\n");
        words.append(
            context.getString(
                R.string.path_failed, PathStyle.name(context, path.kind()), path.error()));
      }
    }
    return words.length() == 0 ? null : words.toString();
  }

  /** How many samples a path classified rightly. */
  String samples(PathResult path) {
    int right = 0;
    int known = 0;
    for (Classification sample : path.samples()) {
      known += sample.label() == null ? 0 : 1;
      right += sample.isRight() ? 1 : 0;
    }
    String name = PathStyle.name(context, path.kind());
    return known == 0
        ? context.getString(R.string.samples_unlabelled, name)
        : context.getString(R.string.samples_right, name, right, known);
  }

  /** Settings, files, device and log in rows of a name and a value. */
  Map<String, String> facts() {
    Map<String, String> facts = new LinkedHashMap<String, String>();
    addFile(facts, R.string.fact_model, result.model());
    if (result.dense() != null) {
      addFile(facts, R.string.fact_dense, result.dense());
    }
    addSettings(facts, result.settings());
    if (result.peakMemoryBytes() != null) {
      put(facts, R.string.fact_peak_memory, Formats.bytes(result.peakMemoryBytes(), locale));
    }
    DeviceFacts.add(facts, context, result.machine());
    put(facts, R.string.fact_runtime, result.runtime());
    put(facts, R.string.fact_tool, result.toolName() + " " + result.toolVersion());
    if (!result.log().isEmpty()) {
      put(facts, R.string.fact_log, TextUtils.join("\n", result.log()));
    }
    return facts;
  }

  private void addFile(Map<String, String> facts, int name, ModelFileInfo file) {
    put(
        facts,
        name,
        context.getString(
            R.string.fact_file_value,
            file.name(),
            Formats.bytes(file.bytes(), locale),
            file.sha256().substring(0, 12)));
  }

  private void addSettings(Map<String, String> facts, RunSettings settings) {
    int threads = settings.numThreads();
    put(
        facts,
        R.string.setting_threads,
        settings.cpus() == null
            ? String.valueOf(threads)
            : context.getString(
                R.string.fact_threads_value,
                threads,
                settings.affinity(),
                TextUtils.join(", ", settings.cpus())));
    put(
        facts,
        R.string.fact_rounds,
        context.getString(R.string.fact_rounds_value, rounds(), settings.warmup()));
    if (settings.minSeconds() != null && settings.minSeconds() > 0) {
      put(facts, R.string.setting_min_seconds, Formats.seconds(settings.minSeconds(), locale));
    }
    if (settings.activations() != null) {
      put(facts, R.string.setting_activations, settings.activations());
    }
    if (settings.inputs() != null) {
      put(
          facts,
          R.string.fact_inputs,
          context.getString(
              "samples".equals(settings.inputs())
                  ? R.string.inputs_samples
                  : R.string.inputs_random));
    }
    if (settings.coolDownSeconds() != null && settings.coolDownSeconds() > 0) {
      put(facts, R.string.setting_cool_down, Formats.seconds(settings.coolDownSeconds(), locale));
    }
    if (Boolean.TRUE.equals(settings.sustained())) {
      put(facts, R.string.setting_sustained, context.getString(R.string.on));
    }
  }

  /** The rounds that were really timed: more than asked for where a minimum time was. */
  private int rounds() {
    List<PathResult> paths = result.paths();
    for (PathResult path : paths) {
      if (path.succeeded()) {
        return path.runsMs().length;
      }
    }
    return result.settings().runs();
  }

  private void put(Map<String, String> facts, int name, String value) {
    facts.put(context.getString(name), value);
  }
}
