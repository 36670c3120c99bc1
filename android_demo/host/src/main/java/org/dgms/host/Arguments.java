package org.dgms.host;

import java.io.File;
import org.dgms.demo.bench.Activations;
import org.dgms.demo.bench.Affinity;
import org.dgms.demo.bench.BenchmarkSettings;

/** The command line of {@link Main}. */
final class Arguments {
  static final String USAGE =
      "usage: Main --models DIR [--model NAME] [--paths delegate,xnnpack,builtin,dense:xnnpack]\n"
          + "            [--threads N] [--runs N] [--warmup N] [--min-seconds S]\n"
          + "            [--affinity all|big|little] [--activations float32|dynamic_int8] [--seed N]\n"
          + "            [--profile]\n"
          + "            [--json DIR] [--dump DIR]\n";

  File models;
  String model; // null: every model of the folder
  File json;
  File dump;
  final BenchmarkSettings.Builder settings = BenchmarkSettings.builder();

  private Arguments() {}

  /**
   * Reads a command line.
   *
   * @throws IllegalArgumentException it breaks a rule; the message says which
   */
  static Arguments parse(String[] words) {
    Arguments parsed = new Arguments();
    for (int i = 0; i < words.length; i++) {
      if (words[i].equals("--profile")) {
        parsed.settings.setProfile(true);
      } else if (i + 1 < words.length) {
        parsed.set(words[i], words[++i]);
      } else {
        throw new IllegalArgumentException(words[i] + " must be an option with a value after it");
      }
    }
    if (parsed.models == null) {
      throw new IllegalArgumentException("--models DIR must be given");
    }
    return parsed;
  }

  private void set(String option, String value) {
    switch (option) {
      case "--models":
        models = new File(value);
        break;
      case "--model":
        model = value;
        break;
      case "--json":
        json = new File(value);
        break;
      case "--dump":
        dump = new File(value);
        break;
      default:
        setSetting(option, value);
    }
  }

  private void setSetting(String option, String value) {
    switch (option) {
      case "--paths":
        settings.setPaths(value);
        break;
      case "--threads":
        settings.setNumThreads(integer(option, value));
        break;
      case "--runs":
        settings.setRuns(integer(option, value));
        break;
      case "--warmup":
        settings.setWarmup(integer(option, value));
        break;
      case "--min-seconds":
        settings.setMinSeconds(number(option, value));
        break;
      case "--affinity":
        settings.setAffinity(Affinity.of(value));
        break;
      case "--activations":
        settings.setActivations(Activations.of(value));
        break;
      case "--seed":
        settings.setSeed(integer(option, value));
        break;
      default:
        throw new IllegalArgumentException("unknown option " + option);
    }
  }

  private static int integer(String option, String value) {
    try {
      return Integer.parseInt(value);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(option + " must be an integer. Received: " + value, e);
    }
  }

  private static double number(String option, String value) {
    try {
      return Double.parseDouble(value);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(option + " must be a number. Received: " + value, e);
    }
  }
}
