package org.dgms.demo;

import android.content.Context;
import android.content.pm.PackageManager;
import android.os.Build;
import android.os.PowerManager;
import android.os.Process;
import android.util.Log;
import java.util.Collections;
import java.util.List;
import org.dgms.demo.bench.CpuTopology;
import org.dgms.demo.bench.Environment;
import org.dgms.demo.bench.MachineInfo;
import org.dgms.demo.bench.Statistics;
import org.dgms.tflite.DgmsDelegate;

/** The phone, as the benchmark sees it. */
public final class AndroidEnvironment implements Environment {
  /** Tag of every line in logcat, and what scripts filter by. */
  public static final String TAG = "DGMS_BENCH";

  private final Context context;
  private final PowerManager power;
  private final CpuTopology topology = CpuTopology.read(CpuTopology.SYSFS);
  private volatile boolean sustained;

  /** The environment of this app's process. */
  public AndroidEnvironment(Context context) {
    this.context = context.getApplicationContext();
    power = this.context.getSystemService(PowerManager.class);
  }

  /** {@inheritDoc} Loads the delegate's library: not for the main thread. */
  @Override
  public MachineInfo machine() {
    boolean delegate = DgmsDelegate.isAvailable();
    List<String> features = delegate ? DgmsDelegate.cpuFeatures() : Collections.<String>emptyList();
    return new MachineInfo.Builder(topology)
        .setKind("phone", deviceName())
        .setSystem("Android " + Build.VERSION.RELEASE)
        .setAndroid(
            Build.VERSION.SDK_INT >= Build.VERSION_CODES.S ? Api31.soc() : null,
            Build.VERSION.SDK_INT,
            abi())
        .setDelegate(features, delegate ? DgmsDelegate.kernelSet() : null)
        .build();
  }

  private static String deviceName() {
    return Build.MODEL.startsWith(Build.MANUFACTURER)
        ? Build.MODEL
        : Build.MANUFACTURER + " " + Build.MODEL;
  }

  /** The ABI that this process runs in, which on a 64-bit device can be the 32-bit one. */
  private static String abi() {
    String[] abis = Process.is64Bit() ? Build.SUPPORTED_64_BIT_ABIS : Build.SUPPORTED_32_BIT_ABIS;
    return abis.length > 0 ? abis[0] : System.getProperty("os.arch");
  }

  @Override
  public CpuTopology cpuTopology() {
    return topology;
  }

  @Override
  public String toolVersion() {
    try {
      return context.getPackageManager().getPackageInfo(context.getPackageName(), 0).versionName;
    } catch (PackageManager.NameNotFoundException e) {
      throw new IllegalStateException(e); // This very package.
    }
  }

  @Override
  public String thermalStatus() {
    return Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q ? Api29.thermalStatus(power) : null;
  }

  /**
   * {@inheritDoc} The mode belongs to a window, and windows come and go with rotation: this only
   * says what is wanted, and {@link RunActivity} gives it to its window.
   */
  @Override
  public boolean setSustainedPerformance(boolean on) {
    sustained = on && power.isSustainedPerformanceModeSupported();
    return sustained;
  }

  /** Whether the window in front shall ask for sustained-performance mode. */
  boolean wantsSustainedPerformance() {
    return sustained;
  }

  @Override
  public void log(String line) {
    Log.i(TAG, line);
  }

  @RequiresApi(29)
  private static final class Api29 {
    static String thermalStatus(PowerManager power) {
      return Statistics.thermalStatusName(power.getCurrentThermalStatus());
    }
  }

  @RequiresApi(31)
  private static final class Api31 {
    static String soc() {
      return Build.UNKNOWN.equals(Build.SOC_MODEL)
          ? null
          : Build.SOC_MANUFACTURER + " " + Build.SOC_MODEL;
    }
  }
}
