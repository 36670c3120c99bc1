package org.dgms.demo;

import android.content.Context;
import android.text.TextUtils;
import java.util.ArrayList;
import java.util.List;
import org.dgms.demo.bench.Activations;
import org.dgms.demo.bench.Affinity;
import org.dgms.demo.bench.BenchmarkSettings;

/** A benchmark's settings in one line. */
final class RunText {
  private RunText() {}

  /** Such as "2 threads · 50 rounds · 5 warm-up · big cores". */
  static String settings(Context context, BenchmarkSettings settings) {
    List<String> parts = new ArrayList<String>();
    int threads = settings.numThreads();
    parts.add(context.getResources().getQuantityString(R.plurals.threads, threads, threads));
    parts.add(
        context
            .getResources()
            .getQuantityString(R.plurals.rounds, settings.runs(), settings.runs()));
    if (settings.minSeconds() > 0) {
      parts.add(
          context.getString(R.string.at_least_seconds, String.valueOf(settings.minSeconds())));
    }
    parts.add(context.getString(R.string.warmup_rounds, settings.warmup()));
    if (settings.affinity() != Affinity.ALL) {
      parts.add(
          context.getString(
              settings.affinity() == Affinity.BIG ? R.string.big_cores : R.string.little_cores));
    }
    if (settings.activations() == Activations.DYNAMIC_INT8) {
      parts.add(context.getString(R.string.activations_dynamic_int8));
    }
    return TextUtils.join(" · ", parts);
  }
}
