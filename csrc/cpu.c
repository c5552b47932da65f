/* fastgraph._cpu: which builds of the engine this processor can run, and how they were built.
 *
 * A module of its own, compiled for the platform's baseline, because it must load where the others
 * would stop the process with an illegal instruction. It holds no arithmetic and imports nothing.
 * setup.py writes build_info.h, whose FG_TIERS lists name, flags and test of each tier, best last.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "build_info.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

PyDoc_STRVAR(supported_isas_doc,
"supported_isas() -> tuple[str, ...]\n\n"
"The instruction sets the engine was built for that this processor runs, best last.");

static PyObject *supported_isas(PyObject *module, PyObject *ignored)
{
    PyObject *names = PyList_New(0), *result;
    if (!names)
        return NULL;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
#endif
#define ADD(isa, flags, supported)                                  \
    if (supported) {                                                \
        PyObject *name = PyUnicode_FromString(isa);                 \
        if (!name || PyList_Append(names, name) < 0) {              \
            Py_XDECREF(name);                                       \
            Py_DECREF(names);                                       \
            return NULL;                                            \
        }                                                           \
        Py_DECREF(name);                                            \
    }
    FG_TIERS(ADD)
#undef ADD
    result = PyList_AsTuple(names);
    Py_DECREF(names);
    return result;
}

PyDoc_STRVAR(build_info_doc,
"build_info() -> dict[str, object]\n\n"
"Compiler, its flags, the flags of each instruction set, the versions built against.");

static PyObject *build_info(PyObject *module, PyObject *ignored)
{
#define TIER(isa, flags, supported) , isa, flags
#define COUNT(isa, flags, supported) "ss"
    /* Py_BuildValue reads the format "{ssss...}" as a dictionary of name and flags. */
    PyObject *tiers = Py_BuildValue("{" FG_TIERS(COUNT) "}" FG_TIERS(TIER));
#undef TIER
#undef COUNT
    if (!tiers)
        return NULL;
    return Py_BuildValue("{ss ss ss ss sO sO sN}",
        "compiler", COMPILER,
        "flags", FG_BUILD_FLAGS,
        "cython", FG_BUILD_CYTHON,
        "numpy", FG_BUILD_NUMPY,
        "debug", FG_BUILD_DEBUG ? Py_True : Py_False,
        "sanitize", FG_BUILD_SANITIZE ? Py_True : Py_False,
        "tiers", tiers);
}

static PyMethodDef methods[] = {
    {"supported_isas", supported_isas, METH_NOARGS, supported_isas_doc},
    {"build_info", build_info, METH_NOARGS, build_info_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastgraph._cpu",
    .m_doc = "Which builds of the engine this processor can run, and how they were built.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__cpu(void)
{
    return PyModuleDef_Init(&definition);
}
