package org.dgms.demo;

import android.content.Context;
import android.text.TextUtils;
import java.util.LinkedHashMap;
import java.util.Map;
import org.dgms.demo.bench.MachineInfo;
import org.tensorflow.lite.TensorFlowLite;

/** The device in rows of a name and a value. */
final class DeviceFacts {
  private DeviceFacts() {}

  /** The device that the app runs on. Loads native libraries: not for the main thread. */
  static Map<String, String> of(Context context, AndroidEnvironment environment) {
    Map<String, String> facts = new LinkedHashMap<String, String>();
    add(facts, context, environment.machine());
    facts.put(context.getString(R.string.fact_cores), environment.cpuTopology().describe());
    facts.put(context.getString(R.string.fact_runtime), runtime(context));
    String thermal = environment.thermalStatus();
    if (thermal != null) {
      facts.put(context.getString(R.string.fact_thermal), thermal);
    }
    return facts;
  }

  /** Adds what a result or the environment says of a machine. */
  static void add(Map<String, String> facts, Context context, MachineInfo machine) {
    facts.put(context.getString(R.string.fact_device), machine.name());
    if (machine.soc() != null) {
      facts.put(context.getString(R.string.fact_soc), machine.soc());
    } else if (!machine.processor().isEmpty()) {
      facts.put(context.getString(R.string.fact_soc), machine.processor());
    }
    facts.put(
        context.getString(R.string.fact_system),
        context.getString(R.string.fact_system_value, machine.system(), machine.architecture()));
    facts.put(
        context.getString(R.string.fact_kernel_set),
        machine.kernelSet() == null
            ? context.getString(R.string.fact_no_library)
            : machine.kernelSet());
    if (!machine.features().isEmpty()) {
      facts.put(
          context.getString(R.string.fact_features), TextUtils.join(", ", machine.features()));
    }
  }

  private static String runtime(Context context) {
    try {
      return "TensorFlow Lite " + TensorFlowLite.runtimeVersion();
    } catch (LinkageError e) {
      return context.getString(R.string.fact_no_runtime, e.getMessage());
    }
  }
}
