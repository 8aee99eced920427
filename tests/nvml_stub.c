/* A stand-in for NVIDIA's management library: answers what environment variables say. Built and described by nvml_stub.py.
 *
 * A value is looked for as STUB_NAME_<gpu>, then STUB_NAME, then the default below. Every call fails with the code of
 * STUB_ERROR_<call>_<gpu> or STUB_ERROR_<call>, or of a line "<call> <code>" in the file that STUB_ERROR_FILE names, which is read
 * at each call, so that a test can take the GPU away while a command runs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;
typedef struct { u64 total, free, used; } memory_t;
typedef struct { unsigned version; u64 total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } process_t;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { NO_GPU = -1, SLICE_BASE = 1000, PLACES = 7 };

static const char *value(const char *name, int gpu, const char *otherwise) {
    char key[128];
    const char *found;
    snprintf(key, sizeof key, "STUB_%s_%d", name, gpu);
    if (gpu >= 0 && (found = getenv(key))) return found;
    snprintf(key, sizeof key, "STUB_%s", name);
    found = getenv(key);
    return found ? found : otherwise;
}

static u64 number(const char *name, int gpu, const char *otherwise) { return strtoull(value(name, gpu, otherwise), NULL, 10); }

static int error(const char *call, int gpu) {
    char key[128], name[128];
    int code = 0, found = 0;
    snprintf(key, sizeof key, "ERROR_%s", call);
    if ((code = atoi(value(key, gpu, "0")))) return code;
    const char *path = getenv("STUB_ERROR_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return SUCCESS;
    while (!found && fscanf(file, "%127s %d", name, &code) == 2) found = !strcmp(name, call);
    fclose(file);
    return found ? code : SUCCESS;
}

/* Handles: 1, 2, … are GPUs; 1000 * GPU + 1, 2, … their slices. */
static int gpu_of(void *handle) { long it = (long)handle; return (int)(it >= SLICE_BASE ? it / SLICE_BASE : it) - 1; }
static int slice_of(void *handle) { long it = (long)handle; return it >= SLICE_BASE ? (int)(it % SLICE_BASE) - 1 : -1; }
static void *handle_of(int gpu, int slice) { return (void *)(slice < 0 ? gpu + 1L : SLICE_BASE * (gpu + 1L) + slice + 1); }

#define OR_FAIL(gpu) do { int code_ = error(__func__, gpu); if (code_) return code_; } while (0)

static void uuid(int gpu, int slice, char *text, unsigned length) {
    char otherwise[64];
    snprintf(otherwise, sizeof otherwise, "GPU-00000000-0000-0000-0000-00000000000%d", gpu);
    if (slice < 0) snprintf(text, length, "%s", value("UUID", gpu, otherwise));
    else snprintf(text, length, "MIG-11111111-0000-0000-0000-0000000000%d%d", gpu, slice);
}

int nvmlInit_v2(void) { OR_FAIL(NO_GPU); return SUCCESS; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; OR_FAIL(NO_GPU); return nvmlInit_v2(); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stub"; }

int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    OR_FAIL(NO_GPU);
    snprintf(text, length, "%s", value("DRIVER", NO_GPU, "580.65.06"));
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    OR_FAIL(NO_GPU);
    *version = (int)number("CUDA", NO_GPU, "13000");
    return SUCCESS;
}
int nvmlDeviceGetCount_v2(unsigned *count) { OR_FAIL(NO_GPU); *count = (unsigned)number("GPUS", NO_GPU, "1"); return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    OR_FAIL((int)index);
    *handle = handle_of((int)index, -1);
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *wanted, void **handle) {
    char text[96];
    OR_FAIL(NO_GPU);
    for (int gpu = 0; gpu < (int)number("GPUS", NO_GPU, "1"); gpu++)
        for (int slice = -1; slice < (int)number("SLICES", gpu, "0"); slice++) {
            uuid(gpu, slice, text, sizeof text);
            if (!strcmp(text, wanted)) { *handle = handle_of(gpu, slice); return SUCCESS; }
        }
    return NOT_FOUND;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    OR_FAIL(gpu_of(handle));
    const char *name = value("NAME", gpu_of(handle), "NVIDIA Stub");
    snprintf(text, length, slice_of(handle) < 0 ? "%s" : "%s MIG 1g.10gb", name);
    return SUCCESS;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    OR_FAIL(gpu_of(handle));
    uuid(gpu_of(handle), slice_of(handle), text, length);
    return SUCCESS;
}
static void fill(void *handle, memory_v2_t *memory) {
    int gpu = gpu_of(handle), whole = slice_of(handle) < 0;
    memory->total = number(whole ? "MEMORY_MIB" : "SLICE_MIB", gpu, whole ? "81920" : "10240") << 20;
    memory->used = number(whole ? "USED_MIB" : "SLICE_USED_MIB", gpu, "0") << 20;
    memory->reserved = number("RESERVED_MIB", gpu, "0") << 20;
    memory->free = memory->total - memory->used - memory->reserved;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *memory) {
    OR_FAIL(gpu_of(handle));
    fill(handle, memory);
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    memory_v2_t second;
    OR_FAIL(gpu_of(handle));
    fill(handle, &second);
    memory->total = second.total, memory->free = second.free, memory->used = second.used + second.reserved;
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    OR_FAIL(gpu_of(handle));
    sscanf(value("CAPABILITY", gpu_of(handle), "9.0"), "%d.%d", major, minor);
    return SUCCESS;
}
int nvmlDeviceGetComputeMode(void *handle, unsigned *mode) {
    OR_FAIL(gpu_of(handle));
    *mode = (unsigned)number("COMPUTE_MODE", gpu_of(handle), "0");
    return SUCCESS;
}
/* STUB_PROCESSES is "PID:MIB,PID:MIB"; a memory of - is not available. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *processes) {
    OR_FAIL(gpu_of(handle));
    const char *at = value("PROCESSES", gpu_of(handle), "");
    unsigned found = 0, room = *count;
    while (*at) {
        unsigned pid = (unsigned)strtoul(at, NULL, 10);
        const char *memory = strchr(at, ':') + 1;
        if (processes && found < room) {
            processes[found].pid = pid;
            processes[found].used = *memory == '-' ? ~0ULL : strtoull(memory, NULL, 10) << 20;
        }
        found++;
        const char *comma = strchr(at, ',');
        at = comma ? comma + 1 : "";
    }
    *count = found;
    return found > room || (found && !processes) ? INSUFFICIENT_SIZE : SUCCESS;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    OR_FAIL(gpu_of(handle));
    *current = *pending = (unsigned)number("MIG", gpu_of(handle), "0");
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { OR_FAIL(gpu_of(handle)); *count = PLACES; return SUCCESS; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **slice) {
    OR_FAIL(gpu_of(handle));
    if (index >= number("SLICES", gpu_of(handle), "0")) return NOT_FOUND;
    *slice = handle_of(gpu_of(handle), (int)index);
    return SUCCESS;
}
int nvmlDeviceGetTotalEccErrors(void *handle, unsigned kind, unsigned counter, u64 *count) {
    OR_FAIL(gpu_of(handle));
    *count = kind == 1 && counter == 0 ? number("UNCORRECTED", gpu_of(handle), "0") : 0;
    return SUCCESS;
}
int nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    OR_FAIL(gpu_of(handle));
    *corrected = *uncorrected = 0;
    *pending = (unsigned)number("REMAP_PENDING", gpu_of(handle), "0");
    *failed = (unsigned)number("REMAP_FAILED", gpu_of(handle), "0");
    return SUCCESS;
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *handle, unsigned *pending) {
    OR_FAIL(gpu_of(handle));
    *pending = (unsigned)number("PAGES_PENDING", gpu_of(handle), "0");
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *handle, u64 *reasons) {
    OR_FAIL(gpu_of(handle));
    *reasons = number("THROTTLE", gpu_of(handle), "0");
    return SUCCESS;
}
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *milliwatts) {
    OR_FAIL(gpu_of(handle));
    *milliwatts = (unsigned)number("POWER_W", gpu_of(handle), "700") * 1000;
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementDefaultLimit(void *handle, unsigned *milliwatts) {
    OR_FAIL(gpu_of(handle));
    *milliwatts = (unsigned)number("DEFAULT_POWER_W", gpu_of(handle), "700") * 1000;
    return SUCCESS;
}
int nvmlDeviceGetTotalEnergyConsumption(void *handle, u64 *millijoules) {
    OR_FAIL(gpu_of(handle));
    *millijoules = number("ENERGY_J", gpu_of(handle), "1000") * 1000;
    return SUCCESS;
}
